//! A station: its run, and what it remembers of boards and serials for one horizon and more.
//!
//! A board's row is its bytes in a checkpoint. Python holds the others (closed without all pictures, corrected, restored):
//! of these only their names are known here, so that nothing ordinary is taken for new that is not.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use crate::boards::Board;
use crate::json::{Picture, Verdict};
use crate::msgpack::{Reader, Writer};
use crate::run::{Run, Verdicts, MINUTE_US};
use crate::serials::{Serials, Visit};

#[derive(Default)]
pub struct Station {
    pub line: String,
    pub name: String,
    pub run: Option<Run>,
    groups: Vec<Group>,
    serials: Serials,
    boards_by_minute: BTreeMap<i64, Vec<(usize, i64)>>,
    fresh_boards: Vec<(usize, i64)>,
    key: String,
    row: Writer,
}

/// A hash of visits, which nobody chooses to do harm: they are numbers that ingest counts.
#[derive(Default)]
pub struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_i64(i64::from(*byte)));
    }

    fn write_i64(&mut self, number: i64) {
        self.0 = (self.0 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Numbers = BuildHasherDefault<Mixer>;

/// Boards of one product and session, by visit: rows, and those that Python holds, each with its newest minute.
struct Group {
    name: String,
    rows: HashMap<i64, Row, Numbers>,
    held: HashMap<i64, i64, Numbers>,
}

struct Row {
    minute: i64,
    bytes: Box<[u8]>,
}

impl Station {
    pub fn new(line: &str, name: &str) -> Self {
        Station { line: line.to_owned(), name: name.to_owned(), ..Station::default() }
    }

    pub fn group(&mut self, name: &str) -> usize {
        if let Some(index) = self.groups.iter().position(|group| group.name == name) {
            return index;
        }
        self.groups.push(Group { name: name.to_owned(), rows: HashMap::default(), held: HashMap::default() });
        self.groups.len() - 1
    }

    /// Take a picture into the run; None for one that is not ordinary.
    pub fn take(&mut self, picture: &Picture, offset: i64, logged_us: i64, verdicts: &mut Verdicts) -> Option<()> {
        let run = self.run.as_mut()?;
        let group = &self.groups[run.group];
        if !run.has(picture) || group.rows.contains_key(&picture.visit) || group.held.contains_key(&picture.visit) {
            return None;
        }
        let mut first = true;
        if let Some((Some(serial), event_us)) = run.completed(picture) {
            let minute = run.minute_of(event_us);
            let (frozen_minute, horizon) = (run.frozen_minute, run.horizon_minutes);
            first = self.serials.is_first(&run.kin.product, serial, event_us, minute, frozen_minute, horizon)?;
        }
        let Some(board) = run.take(picture, offset, logged_us, first, verdicts)? else { return Some(()) };
        let (minute, index) = (run.minute_of(board.frames[0].0), run.group);
        if let Some(serial) = &board.serial {
            let visit = Visit {
                event_us: board.frames[0].0,
                session: run.session_name.clone(),
                number: board.visit,
                minute,
                share: run.share.clone(),
                passed: board.verdict == Some(Verdict::Pass),
                first,
            };
            self.serials.add(&run.kin.product, &serial.name, visit);
        }
        if run.kin.views > 1 {
            let newest = board.newest_us().div_euclid(MINUTE_US);
            self.row.bytes.clear();
            board.write(&run.kin, Some(minute), &mut self.row);
            self.boards_by_minute.entry(newest).or_default().push((index, board.visit));
            self.fresh_boards.push((index, board.visit));
            let row = Row { minute: newest, bytes: Box::from(self.row.bytes.as_slice()) };
            self.groups[index].rows.insert(board.visit, row);
        }
        Some(())
    }

    /// Give a board to Python, as its bytes; None where it is not here.
    pub fn claim_board(&mut self, group: &str, visit: i64) -> Option<Box<[u8]>> {
        let group = self.groups.iter_mut().find(|known| known.name == group)?;
        let row = group.rows.remove(&visit)?;
        group.held.insert(visit, row.minute);
        Some(row.bytes)
    }

    /// Give a serial's visits to Python, as their bytes; None where they are not here.
    pub fn claim_serial(&mut self, name: &str) -> Option<Vec<u8>> {
        self.serials.claim(name)
    }

    /// Note that Python holds a board whose newest picture was taken in that minute.
    pub fn hold_board(&mut self, group: &str, visit: i64, minute: i64) {
        let index = self.group(group);
        self.groups[index].rows.remove(&visit);
        self.groups[index].held.insert(visit, minute);
        self.boards_by_minute.entry(minute).or_default().push((index, visit));
    }

    /// Note that Python holds a serial last seen in that minute.
    pub fn hold_serial(&mut self, name: &str, minute: i64) {
        self.serials.hold(name, minute);
    }

    /// Read what a block has of this station, in place of what is known of the same boards and serials.
    pub fn load(&mut self, back: &mut Reader) -> Option<()> {
        for _ in 0..back.map()? {
            match back.str()? {
                "boards" => {
                    for _ in 0..back.array()? {
                        self.load_board(back)?;
                    }
                }
                "serials" => {
                    for _ in 0..back.map()? {
                        self.serials.load(back)?;
                    }
                }
                _ => back.skip()?,
            }
        }
        Some(())
    }

    fn load_board(&mut self, back: &mut Reader) -> Option<()> {
        let whole = back.left();
        let fields = back.array()?;
        let (product, session, visit) = (back.str()?, back.str()?, back.int()?);
        self.key.clear();
        self.key.push_str(product);
        self.key.push('\x1f');
        self.key.push_str(session);
        for _ in 3..8 {
            back.skip()?;
        }
        let mut newest_us = 0;
        for _ in 0..back.array()? {
            back.array()?;
            newest_us = back.int()?;
            back.int()?;
        }
        for _ in 9..fields {
            back.skip()?;
        }
        let bytes: Box<[u8]> = Box::from(&whole[..whole.len() - back.left().len()]);
        let known = self.groups.iter().position(|group| group.name == self.key);
        let index = known.unwrap_or_else(|| self.group(&self.key.clone()));
        let minute = newest_us.div_euclid(MINUTE_US);
        self.groups[index].rows.insert(visit, Row { minute, bytes });
        self.boards_by_minute.entry(minute).or_default().push((index, visit));
        Some(())
    }

    /// How many boards and serials are remembered here.
    pub fn count(&self) -> (usize, usize) {
        (self.groups.iter().map(|group| group.rows.len()).sum(), self.serials.count())
    }

    /// A board that Python held waits here for its pictures now.
    pub fn adopt(&mut self, group: usize, board: &Board) {
        self.groups[group].held.remove(&board.visit);
    }

    /// Forget what the windows before a minute being final makes useless, as `kpi_engine.closing.finish` does.
    pub fn forget(&mut self, frozen_minute: i64, horizon_minutes: i64) {
        while let Some(entry) = self.boards_by_minute.first_entry() {
            if *entry.key() + 1 >= frozen_minute {
                break;
            }
            let (minute, places) = entry.remove_entry();
            for (index, visit) in places {
                let group = &mut self.groups[index];
                if group.rows.get(&visit).is_some_and(|row| row.minute == minute) {
                    group.rows.remove(&visit);
                }
                if group.held.get(&visit) == Some(&minute) {
                    group.held.remove(&visit);
                }
            }
        }
        self.serials.forget(frozen_minute, horizon_minutes);
    }

    /// Append what a checkpoint has of this station beside what Python holds, in the order of `kpi_engine.compiled.Rows`:
    /// boards and serials (all, or those not sealed yet), the newest minute among them, and boards that wait.
    pub fn write_rows(&self, all: bool, out: &mut Writer) {
        let boards: Vec<&Row> = if all {
            self.groups.iter().flat_map(|group| group.rows.values()).collect()
        } else {
            self.fresh_boards.iter().filter_map(|(index, visit)| self.groups[*index].rows.get(visit)).collect()
        };
        out.array(4);
        out.array(boards.len());
        boards.iter().for_each(|row| out.bytes.extend_from_slice(&row.bytes));
        let newest = boards.iter().map(|row| row.minute).max().unwrap_or(0).max(self.serials.write(all, out));
        out.int(newest);
        self.write_open(out);
    }

    /// Append the boards that wait.
    pub fn write_open(&self, out: &mut Writer) {
        let Some(run) = &self.run else {
            out.array(0);
            return;
        };
        out.array(run.open.len());
        for board in &run.open {
            board.write(&run.kin, None, out);
        }
    }

    /// What was fresh is in a block now.
    pub fn seal(&mut self) {
        self.fresh_boards.clear();
        self.serials.seal();
    }
}
