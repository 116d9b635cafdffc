//! Boards whose pictures come one after the other, and the row that is kept of each: `kpi_engine/boards.py`.

use crate::json::{wants_escapes, Picture, Verdict};
use crate::msgpack::{Reader, Writer};

/// What a board is called by one of its pictures, and by which (event time, number).
#[derive(Clone, Debug)]
pub struct Named {
    pub place: (i64, i64),
    pub name: String,
}

/// A board that waits for pictures, merged as they come; fields as in Python.
#[derive(Clone, Debug)]
pub struct Board {
    pub visit: i64,
    pub received_us: Option<i64>,
    pub judged_us: Option<i64>,
    pub decided_us: Option<i64>,
    pub share: String,
    pub frames: Vec<(i64, i64)>,
    pub inspected: i64,
    pub verdict: Option<Verdict>,
    pub opportunities: i64,
    pub serial: Option<Named>,
    pub lot: Option<Named>,
    pub said: Vec<((i64, i64), Vec<String>)>,
}

impl Board {
    pub fn new(visit: i64) -> Self {
        Board {
            visit,
            received_us: None,
            judged_us: None,
            decided_us: None,
            share: String::new(),
            frames: Vec::with_capacity(4),
            inspected: 0,
            verdict: None,
            opportunities: 0,
            serial: None,
            lot: None,
            said: Vec::new(),
        }
    }

    pub fn newest_us(&self) -> i64 {
        self.frames.last().map_or(i64::MIN, |frame| frame.0)
    }

    /// Merge a picture with the others of its board.
    pub fn put(&mut self, picture: &Picture, share: &str) {
        let place = (picture.event_us, picture.seq);
        let index = self.frames.partition_point(|frame| *frame < place);
        self.frames.insert(index, place);
        if index == 0 && self.share != share {
            share.clone_into(&mut self.share);
        }
        self.decided_us = self.decided_us.max(Some(picture.judged_us));
        self.judged_us = self.judged_us.max(Some(picture.judged_us));
        self.received_us = Some(self.received_us.map_or(picture.received_us, |us| us.min(picture.received_us)));
        self.inspected += 1;
        match self.verdict {
            Some(Verdict::Fail) => {}
            Some(_) if picture.verdict == Verdict::Pass => {}
            _ => self.verdict = Some(picture.verdict),
        }
        self.opportunities = self.opportunities.max(picture.opportunities);
        rename(&mut self.serial, place, picture.serial);
        rename(&mut self.lot, place, picture.lot);
        if !picture.reasons.is_empty() {
            let reasons: Vec<String> = picture.reasons.iter().map(|reason| (*reason).to_owned()).collect();
            let said = (place, reasons);
            let index = self.said.partition_point(|other| *other < said);
            self.said.insert(index, said);
        }
    }

    /// Append the board as msgspec writes Python's; `counted`: the minute of a closed one.
    pub fn write(&self, names: &Kin, counted: Option<i64>, out: &mut Writer) {
        out.array(20);
        out.str(&names.product);
        out.str(&names.session);
        out.int(self.visit);
        out.int(names.views);
        for time_us in [self.received_us, self.judged_us, self.decided_us] {
            out.optional_time(time_us);
        }
        out.str(&self.share);
        out.array(self.frames.len());
        for (event_us, seq) in &self.frames {
            out.array(2);
            out.int(*event_us);
            out.int(*seq);
        }
        out.int(self.inspected);
        out.optional_str(self.verdict.map(Verdict::name));
        out.int(self.opportunities);
        for named in [&self.serial, &self.lot] {
            match named {
                None => out.nil(),
                Some(Named { place, name }) => {
                    out.array(3);
                    out.int(place.0);
                    out.int(place.1);
                    out.str(name);
                }
            }
        }
        out.optional_int(counted);
        out.bool(counted.is_some());
        out.array(self.said.len());
        for (place, reasons) in &self.said {
            out.array(3);
            out.int(place.0);
            out.int(place.1);
            out.array(reasons.len());
            reasons.iter().for_each(|reason| out.str(reason));
        }
        out.array(0); // none is absent
        out.bool(false); // and it is no panel
        out.array(0);
    }

    /// Read a board that waits, as Python wrote it; None for one that is not ordinary (of a panel, a picture absent).
    pub fn read(bytes: &[u8], names: &Kin) -> Option<Self> {
        let mut back = Reader::new(bytes);
        if back.array()? != 20 || back.str()? != names.product || back.str()? != names.session {
            return None;
        }
        let mut board = Board::new(back.int()?);
        if back.int()? != names.views {
            return None;
        }
        board.received_us = back.optional_time()?;
        board.judged_us = back.optional_time()?;
        board.decided_us = back.optional_time()?;
        back.str()?.clone_into(&mut board.share);
        for _ in 0..back.array()? {
            back.array()?;
            board.frames.push((back.int()?, back.int()?));
        }
        board.inspected = back.int()?;
        board.verdict = match back.optional_str()? {
            None => None,
            Some(name) => Some(Verdict::from_name(name)?),
        };
        board.opportunities = back.int()?;
        board.serial = named(&mut back)?;
        board.lot = named(&mut back)?;
        let waits = back.nil() && !back.bool()?;
        for _ in 0..back.array()? {
            back.array()?;
            let place = (back.int()?, back.int()?);
            let reasons = back.array()?;
            board.said.push((place, (0..reasons).map(|_| back.str().map(str::to_owned)).collect::<Option<_>>()?));
        }
        let ordinary = back.array()? == 0 && !back.bool()? && back.array()? == 0;
        let counts = board.inspected == board.frames.len() as i64 && board.frames.len() < names.views as usize;
        let plain = !board.said.iter().flat_map(|said| &said.1).any(|reason| wants_escapes(reason))
            && !board.serial.iter().chain(&board.lot).any(|named| wants_escapes(&named.name));
        if waits && ordinary && counts && plain && !board.frames.is_empty() {
            Some(board)
        } else {
            None
        }
    }
}

/// What the boards of a product and session have in common.
#[derive(Clone, Debug, Default)]
pub struct Kin {
    pub product: String,
    pub session: String,
    pub views: i64,
}

fn rename(known: &mut Option<Named>, place: (i64, i64), name: Option<&str>) {
    if let Some(name) = name {
        if known.as_ref().map_or(true, |other| place < other.place) {
            *known = Some(Named { place, name: name.to_owned() });
        }
    }
}

fn named(back: &mut Reader) -> Option<Option<Named>> {
    if back.nil() {
        return Some(None);
    }
    back.array()?;
    let place = (back.int()?, back.int()?);
    Some(Some(Named { place, name: back.str()?.to_owned() }))
}
