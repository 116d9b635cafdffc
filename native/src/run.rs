//! A station's run: what its ordinary records have in common, and what they have changed since it was last written down.

use std::rc::Rc;

use crate::blake2b::Blake2b;
use crate::boards::{Board, Kin};
use crate::json::{wants_escapes, Mark, Picture, Verdict};
use crate::kafka::{Sheaf, SHEAF_BYTES};
use crate::ledger::{Gap, Session, Told};
use crate::msgpack::{Reader, Writer};
use crate::sums::Change;
use crate::time;

pub const MINUTE_US: i64 = 60_000_000;

/// Fields as in `kpi_engine.compiled.Begin`. `patience_us`: before that no board runs out of time; `others_us`: none of
/// those that wait elsewhere.
#[derive(Debug)]
pub struct Run {
    pub session_name: Rc<str>,
    pub kin: Kin,
    pub group: usize,
    lot: Option<String>,
    pub share: Rc<str>,
    verdicts: bool,
    structures: Vec<String>,
    hold_us: i64,
    board_hold_us: i64,
    next_us: i64,
    pub frozen_minute: i64,
    pub horizon_minutes: i64,
    is_current: bool,
    others_us: i64,
    patience_us: i64,
    session: Session,
    pub open: Vec<Board>,
    changes: Vec<Change>,
    names: Names,
}

/// Verdicts on their way out: how many of each kind, and their records by line.
#[derive(Default)]
pub struct Verdicts {
    pub passed: i64,
    pub failed: i64,
    pub review: i64,
    headers: Vec<u8>,
    pub open: Vec<(String, Sheaf)>,
    pub full: Vec<(String, Sheaf)>,
    value: Vec<u8>,
}

impl Verdicts {
    /// Verdicts whose records have these headers.
    pub fn new(headers: Vec<u8>) -> Self {
        Verdicts { headers, ..Verdicts::default() }
    }

    fn add(&mut self, line: &str) {
        let known = self.open.iter().position(|(name, _)| name == line);
        let index = known.unwrap_or_else(|| {
            self.open.push((line.to_owned(), Sheaf::default()));
            self.open.len() - 1
        });
        let sheaf = &mut self.open[index].1;
        sheaf.add(line.as_bytes(), &self.value, &self.headers);
        if sheaf.bytes.len() > SHEAF_BYTES {
            self.full.push(self.open.swap_remove(index));
        }
    }
}

/// The ids of a session's frames and boards, and what their verdicts all say.
#[derive(Clone)]
struct Names {
    line: String,
    frames: Blake2b,
    boards: Blake2b,
    said: Vec<u8>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

impl Run {
    /// Read what Python says of a run, after line and station; None for what cannot be one.
    pub fn read(back: &mut Reader, line: &str, station: &str) -> Option<(Self, String)> {
        let session_name: Rc<str> = Rc::from(back.str()?);
        let product = back.str()?.to_owned();
        let lot = back.optional_str()?.map(str::to_owned);
        let share: Rc<str> = Rc::from(back.str()?);
        let group = back.str()?.to_owned();
        let views = back.int()?;
        let verdicts = back.bool()?;
        let structures = (0..back.array()?).map(|_| back.str().map(str::to_owned)).collect::<Option<_>>()?;
        let (hold_us, board_hold_us, next_us) = (back.int()?, back.int()?, back.int()?);
        let (frozen_minute, horizon_minutes) = (back.int()?, back.int()?);
        let (is_current, others_us) = (back.bool()?, back.int()?);
        let session = read_session(back)?;
        session.watermark_us?;
        let kin = Kin { product, session: session_name.to_string(), views };
        let mut open = Vec::new();
        for _ in 0..back.array()? {
            open.push(Board::read(back.bin()?, &kin)?);
        }
        let texts = [line, station, &session_name, &kin.product, lot.as_deref().unwrap_or("")];
        if views < 1 || texts.into_iter().any(wants_escapes) {
            return None;
        }
        let names = Names::new(line, station, &kin);
        let mut run = Run {
            session_name,
            kin,
            group: 0,
            lot,
            share,
            verdicts,
            structures,
            hold_us,
            board_hold_us,
            next_us,
            frozen_minute,
            horizon_minutes,
            is_current,
            others_us,
            patience_us: i64::MIN,
            session,
            open,
            changes: Vec::new(),
            names,
        };
        run.be_patient();
        Some((run, group))
    }

    /// Whether a picture is of this run: its session, product and lot, in no final window.
    pub fn has(&self, picture: &Picture) -> bool {
        picture.session == &*self.session_name
            && picture.product == self.kin.product
            && picture.lot == self.lot.as_deref()
            && picture.event_us.div_euclid(MINUTE_US) >= self.frozen_minute
    }

    /// Of the board that a picture completes its serial, as far as it has one, and its event time; None where it waits on.
    pub fn completed<'a>(&'a self, picture: &Picture<'a>) -> Option<(Option<&'a str>, i64)> {
        let waiting = self.waiting(picture.visit).map(|index| &self.open[index]);
        if waiting.map_or(0, |board| board.frames.len()) as i64 + 1 < self.kin.views {
            return None;
        }
        let known = waiting.and_then(|board| board.serial.as_ref());
        let named_by_this = known.map_or(true, |known| (picture.event_us, picture.seq) < known.place);
        let serial = picture.serial.filter(|_| named_by_this).or_else(|| known.map(|known| known.name.as_str()));
        let event_us = waiting.map_or(picture.event_us, |board| board.frames[0].0.min(picture.event_us));
        Some((serial, event_us))
    }

    /// The minute in which a board is counted whose first picture was taken then.
    pub fn minute_of(&self, event_us: i64) -> i64 {
        event_us.div_euclid(MINUTE_US).max(self.frozen_minute)
    }

    fn waiting(&self, visit: i64) -> Option<usize> {
        if self.kin.views == 1 {
            return None;
        }
        self.open.iter().rposition(|board| board.visit == visit)
    }

    /// Take a picture in; None, with nothing changed, for one that is not ordinary, else the board that it completes.
    /// `first`: that board is its serial's first pass, or has none.
    pub fn take(
        &mut self,
        picture: &Picture,
        offset: i64,
        logged_us: i64,
        first: bool,
        verdicts: &mut Verdicts,
    ) -> Option<Option<Board>> {
        let index = self.waiting(picture.visit);
        if let Some(board) = index.map(|index| &self.open[index]) {
            let first_is_of_this_share =
                (picture.event_us, picture.seq) < board.frames[0] || board.share == *self.share;
            if !first_is_of_this_share {
                return None;
            }
        }
        let bound_us = self.session.watermark_with(picture.seq, picture.event_us);
        if bound_us > Some(picture.event_us + self.board_hold_us) || !self.may_move(bound_us) {
            return None;
        }
        let told = Told { event_us: picture.event_us, product: &self.share, logged_us };
        if !self.session.see(picture.seq, &told) {
            return None;
        }
        self.session.watermark();
        self.session.inspected += 1;
        let minute = picture.event_us.div_euclid(MINUTE_US);
        change_of(&mut self.changes, &self.share, minute, offset).add_picture(picture, &self.structures);
        let index = self.lay(index, picture);
        if (self.open[index].frames.len() as i64) < self.kin.views {
            return Some(None);
        }
        let board = self.open.swap_remove(index);
        self.complete(&board, offset, first, verdicts);
        Some(Some(board))
    }

    /// Lay a picture to the others of its board, or begin one; return where that is.
    fn lay(&mut self, index: Option<usize>, picture: &Picture) -> usize {
        let index = index.unwrap_or_else(|| {
            self.patience_us = self.patience_us.min(picture.event_us + self.board_hold_us);
            self.open.push(Board::new(picture.visit));
            self.open.len() - 1
        });
        self.open[index].put(picture, &self.share);
        index
    }

    fn complete(&mut self, board: &Board, offset: i64, first: bool, verdicts: &mut Verdicts) {
        let minute = self.minute_of(board.frames[0].0);
        let verdict = board.verdict.unwrap_or(Verdict::Review);
        let latency_us = board.judged_us.unwrap_or(0) - board.received_us.unwrap_or(0);
        change_of(&mut self.changes, &self.share, minute, offset).add_board(
            verdict,
            board.opportunities,
            latency_us.max(0),
            first,
        );
        if self.verdicts {
            self.names.tell(board, &self.kin, verdict, offset, first, verdicts);
        }
    }

    /// Take in a mark that says how far the open session got; false, with nothing changed, for another.
    pub fn hear(&mut self, mark: &Mark, offset: i64, logged_us: i64) -> bool {
        let minute = mark.time_us.div_euclid(MINUTE_US);
        let session = &self.session;
        let Some(mark_us) = session.mark_us else { return false };
        let Some(author) = session.heard.iter().position(|(author, _)| author == mark.author) else { return false };
        let ordinary = self.is_current
            && mark.session == &*self.session_name
            && mark.product == self.kin.product
            && mark.time_us > session.heard[author].1
            && mark.last_seq >= session.marked
            && minute >= self.frozen_minute
            && minute <= mark_us.div_euclid(MINUTE_US) + 1
            && session.waiting_since().map_or(true, |since_us| logged_us - since_us < self.hold_us);
        if !ordinary {
            return false;
        }
        let bound_us = session.watermark_marked(mark.time_us, mark.last_seq);
        if !self.may_move(bound_us) {
            return false;
        }
        let session = &mut self.session;
        session.heard_us = logged_us;
        session.heard[author].1 = mark.time_us;
        session.mark_us = Some(mark_us.max(mark.time_us));
        session.marked = mark.last_seq;
        session.extend(mark.last_seq, &Told { event_us: mark.time_us, product: mark.product, logged_us });
        session.watermark();
        change_of(&mut self.changes, mark.product, minute, offset).add_mark();
        true
    }

    /// Whether the watermark may go so far: neither is a minute complete then, nor does a board run out of time.
    fn may_move(&mut self, bound_us: Option<i64>) -> bool {
        if bound_us <= self.session.watermark_us {
            return true;
        }
        if bound_us >= Some(self.next_us) {
            return false;
        }
        if bound_us > Some(self.patience_us) {
            self.be_patient();
        }
        bound_us <= Some(self.patience_us)
    }

    fn be_patient(&mut self) {
        let newest_us = self.open.iter().map(Board::newest_us).min();
        self.patience_us = newest_us.map_or(i64::MAX, |us| us + self.board_hold_us).min(self.others_us);
    }

    /// Append what changed in the order of `kpi_engine.compiled.Written`, and begin to count anew.
    pub fn write_down(&mut self, out: &mut Writer) {
        let session = &self.session;
        out.array(14);
        out.str(&session.product);
        for number in [session.top, session.newest, session.newest_us, session.marked] {
            out.int(number);
        }
        out.optional_int(session.mark_us);
        out.map(session.heard.len());
        for (author, us) in &session.heard {
            out.str(author);
            out.int(*us);
        }
        out.int(session.heard_us);
        out.array(session.gaps.len());
        for gap in &session.gaps {
            out.array(7);
            for number in [gap.first, gap.last, gap.since_us, gap.place_us] {
                out.int(number);
            }
            out.str(&gap.product);
            out.optional_int(gap.floor_us);
            out.bool(gap.missing);
        }
        out.int(session.head as i64);
        out.int(session.pending);
        out.optional_int(session.watermark_us);
        out.int(session.inspected);
        out.array(self.changes.len());
        self.changes.iter().for_each(|change| change.write(out));
        self.changes.clear();
    }
}

fn change_of<'a>(changes: &'a mut Vec<Change>, share: &str, minute: i64, offset: i64) -> &'a mut Change {
    let known = changes.iter().rposition(|change| change.minute == minute && change.share == share);
    let index = known.unwrap_or_else(|| {
        changes.push(Change::new(share, minute, offset));
        changes.len() - 1
    });
    let change = &mut changes[index];
    change.last = offset;
    change
}

fn read_session(back: &mut Reader) -> Option<Session> {
    if back.array()? != 13 {
        return None;
    }
    let product = back.str()?.to_owned();
    let (top, newest, newest_us, marked) = (back.int()?, back.int()?, back.int()?, back.int()?);
    let mark_us = back.optional_int()?;
    let heard = (0..back.map()?).map(|_| Some((back.str()?.to_owned(), back.int()?))).collect::<Option<_>>()?;
    let heard_us = back.int()?;
    let mut gaps = Vec::new();
    for _ in 0..back.array()? {
        back.array()?;
        gaps.push(Gap {
            first: back.int()?,
            last: back.int()?,
            since_us: back.int()?,
            place_us: back.int()?,
            product: back.str()?.to_owned(),
            floor_us: back.optional_int()?,
            missing: back.bool()?,
        });
    }
    let (head, pending) = (usize::try_from(back.int()?).ok()?, back.int()?);
    let watermark_us = back.optional_int()?;
    let inspected = back.int()?;
    Some(Session {
        product,
        top,
        newest,
        newest_us,
        marked,
        mark_us,
        heard,
        heard_us,
        gaps,
        head,
        pending,
        watermark_us,
        inspected,
    })
}

impl Names {
    fn new(line: &str, station: &str, kin: &Kin) -> Self {
        let identity = format!("{line}\x1f{station}\x1f{}\x1f", kin.session);
        let (mut frames, mut boards) = (Blake2b::new(), Blake2b::new());
        frames.update(identity.as_bytes());
        boards.update(b"board\x1f");
        boards.update(identity.as_bytes());
        let said = format!(
            r#"","line":"{line}","station":"{station}","product":"{}","session":"{}","visit":"#,
            kin.product, kin.session
        );
        Names { line: line.to_owned(), frames, boards, said: said.into_bytes() }
    }

    /// Say a board's verdict, as `taktwatch.wire.encode` writes it.
    fn tell(&self, board: &Board, kin: &Kin, verdict: Verdict, revision: i64, first: bool, verdicts: &mut Verdicts) {
        match verdict {
            Verdict::Pass => verdicts.passed += 1,
            Verdict::Fail => verdicts.failed += 1,
            Verdict::Review => verdicts.review += 1,
        }
        let board_id = id(&self.boards, board.visit);
        let out = &mut verdicts.value;
        out.clear();
        out.extend_from_slice(br#"{"type":"board_verdict","board_id":""#);
        out.extend_from_slice(&board_id);
        out.extend_from_slice(&self.said);
        number(board.visit, out);
        out.extend_from_slice(br#","event_at":""#);
        time::write(board.frames[0].0, out);
        out.extend_from_slice(br#"","decided_at":""#);
        time::write(board.decided_us.unwrap_or(0), out);
        out.extend_from_slice(br#"","revision":"#);
        number(revision, out);
        out.extend_from_slice(br#","verdict":""#);
        out.extend_from_slice(verdict.name().as_bytes());
        out.extend_from_slice(br#"","expected":"#);
        number(kin.views, out);
        out.extend_from_slice(br#","inspected":"#);
        number(board.inspected, out);
        out.extend_from_slice(br#","frames":["#);
        for (index, (_, seq)) in board.frames.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",\"" } else { b"\"" });
            out.extend_from_slice(&id(&self.frames, *seq));
            out.push(b'"');
        }
        out.push(b']');
        if !board.said.is_empty() {
            out.extend_from_slice(br#","reasons":["#);
            for (index, reason) in board.said.iter().flat_map(|said| &said.1).enumerate() {
                out.extend_from_slice(if index > 0 { b",\"" } else { b"\"" });
                out.extend_from_slice(reason.as_bytes());
                out.push(b'"');
            }
            out.push(b']');
        }
        for (key, named) in [(&br#","lot":""#[..], &board.lot), (&br#","serial":""#[..], &board.serial)] {
            if let Some(named) = named {
                out.extend_from_slice(key);
                out.extend_from_slice(named.name.as_bytes());
                out.push(b'"');
            }
        }
        if !first {
            out.extend_from_slice(br#","reinspection":true"#);
        }
        out.push(b'}');
        verdicts.add(&self.line);
    }
}

fn id(begun: &Blake2b, value: i64) -> [u8; 32] {
    let mut hash = begun.clone();
    let mut text = Vec::with_capacity(20);
    number(value, &mut text);
    hash.update(&text);
    hash.hex()
}

fn number(value: i64, out: &mut Vec<u8>) {
    let (mut digits, mut at, mut left) = ([0u8; 20], 20, value.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}
