//! One partition's stations, and the way of a record: from Kafka's bytes into a run, or back to Python.

use crate::json;
use crate::kafka::{headers, headers_of, Cursor, Entry, Stop};
use crate::msgpack::{Reader, Writer};
use crate::run::{Run, Verdicts};
use crate::station::Station;

/// What `next` found; numbers as in `taktwatch.native`.
pub const END: i32 = 0;
pub const OTHER: i32 = 1;
pub const CORRUPT: i32 = 2;
pub const FOREIGN: i32 = 3;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    Result,
    Mark,
    #[default]
    Other,
}

#[derive(Default)]
pub struct Engine {
    stations: Vec<Station>,
    last_station: usize,
    cursor: Cursor,
    wanted: i64,
    known_headers: (Vec<u8>, Kind),
    model: Vec<u8>,
    verdicts: Verdicts,
    results: i64,
    marks: i64,
    position: i64,
    pub out: Writer,
}

impl Engine {
    /// An engine whose verdicts have these headers (an array of names and values); None for anything else.
    pub fn new(headers: &[u8]) -> Option<Self> {
        let mut back = Reader::new(headers);
        let mut named = Vec::new();
        for _ in 0..back.array()? {
            back.array()?;
            named.push((back.bin()?, back.bin()?));
        }
        let verdicts = Verdicts::new(headers_of(named.into_iter()));
        Some(Engine { verdicts, ..Engine::default() })
    }

    /// Begin at a batch of what was fetched of the partition; records before `wanted` came with their batch.
    pub fn open(&mut self, wanted: i64, start: usize) {
        self.cursor = Cursor::at(start);
        self.wanted = wanted;
    }

    /// Take in records up to one that is not ordinary, which is then in `out`.
    pub fn next(&mut self, bytes: &[u8]) -> i32 {
        loop {
            let entry = match self.cursor.next(bytes) {
                Ok(entry) => entry,
                Err(Stop::End) => return END,
                Err(Stop::Corrupt) => return CORRUPT,
                Err(Stop::Foreign) => {
                    self.out.bytes.clear();
                    self.out.int(self.cursor.batch_start() as i64);
                    return FOREIGN;
                }
            };
            if entry.offset < self.wanted {
                continue;
            }
            let value = &bytes[entry.value.0..entry.value.1];
            let logged_us = entry.logged_ms.saturating_mul(1000);
            let taken = match self.kind(bytes, &entry) {
                Kind::Result => self.take(value, entry.offset, logged_us),
                Kind::Mark => self.hear(value, entry.offset, logged_us),
                Kind::Other => false,
            };
            if !taken {
                return if self.show(bytes, &entry) { OTHER } else { CORRUPT };
            }
            self.position = entry.offset + 1;
        }
    }

    fn kind(&mut self, bytes: &[u8], entry: &Entry) -> Kind {
        let named = &bytes[entry.headers.0..entry.headers.1];
        if named != self.known_headers.0.as_slice() {
            let kind = headers(bytes, entry).map_or(Kind::Other, |found| kind_of(&found));
            self.known_headers = (named.to_vec(), kind);
        }
        self.known_headers.1
    }

    fn take(&mut self, value: &[u8], offset: i64, logged_us: i64) -> bool {
        let Some(picture) = json::picture(value, &mut self.model) else { return false };
        let Some(index) = self.find(picture.line, picture.station) else { return false };
        let taken = self.stations[index].take(&picture, offset, logged_us, &mut self.verdicts).is_some();
        self.results += i64::from(taken);
        taken
    }

    fn hear(&mut self, value: &[u8], offset: i64, logged_us: i64) -> bool {
        let Some(mark) = json::mark(value) else { return false };
        let Some(index) = self.find(mark.line, mark.station) else { return false };
        let heard = self.stations[index].run.as_mut().is_some_and(|run| run.hear(&mark, offset, logged_us));
        self.marks += i64::from(heard);
        heard
    }

    fn find(&mut self, line: &str, name: &str) -> Option<usize> {
        let is_it = |station: &Station| station.name == name && station.line == line;
        if !self.stations.get(self.last_station).is_some_and(is_it) {
            self.last_station = self.stations.iter().position(is_it)?;
        }
        Some(self.last_station)
    }

    /// Put a record out: offset, log time, key, value, headers.
    fn show(&mut self, bytes: &[u8], entry: &Entry) -> bool {
        let Some(named) = headers(bytes, entry) else { return false };
        let out = &mut self.out;
        out.bytes.clear();
        out.array(5);
        out.int(entry.offset);
        out.int(entry.logged_ms);
        out.bin(&bytes[entry.key.0..entry.key.1]);
        out.bin(&bytes[entry.value.0..entry.value.1]);
        out.array(named.len());
        for (name, value) in named {
            out.array(2);
            out.bin(name);
            out.bin(value);
        }
        true
    }

    fn station(&mut self, line: &str, name: &str) -> usize {
        self.find(line, name).unwrap_or_else(|| {
            self.stations.push(Station::new(line, name));
            self.stations.len() - 1
        })
    }

    /// Let a station's run begin as Python says; None where it cannot.
    pub fn begin(&mut self, bytes: &[u8]) -> Option<()> {
        let mut back = Reader::new(bytes);
        back.array()?;
        let (line, name) = (back.str()?, back.str()?);
        let index = self.station(line, name);
        let station = &mut self.stations[index];
        for _ in 0..back.array()? {
            back.array()?;
            let (group, visit, minute) = (back.str()?, back.int()?, back.int()?);
            station.hold_board(group, visit, minute);
        }
        for _ in 0..back.array()? {
            back.array()?;
            let (serial, minute) = (back.str()?, back.int()?);
            station.hold_serial(serial, minute);
        }
        let (mut run, group) = Run::read(&mut back, line, name)?;
        run.group = station.group(&group);
        for board in &run.open {
            station.adopt(run.group, board);
        }
        station.run = Some(run);
        Some(())
    }

    /// Remember what a block has (`kpi_engine/blocks.py`); None for other bytes.
    pub fn load(&mut self, bytes: &[u8]) -> Option<()> {
        let mut back = Reader::new(bytes);
        for _ in 0..back.map()? {
            let (line, name) = back.str()?.split_once('\x1f')?;
            let index = self.station(line, name);
            self.stations[index].load(&mut back)?;
        }
        if back.left().is_empty() {
            Some(())
        } else {
            None
        }
    }

    /// Put out how many boards and serials are remembered.
    pub fn count(&mut self) {
        let counts = self.stations.iter().map(Station::count);
        let (boards, serials) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        self.out.bytes.clear();
        self.out.array(2);
        self.out.int(boards as i64);
        self.out.int(serials as i64);
    }

    /// Put out what a station's run changed since the last time, and go on.
    pub fn write_down(&mut self, line: &str, name: &str) -> Option<()> {
        let index = self.find(line, name)?;
        self.out.bytes.clear();
        self.stations[index].run.as_mut()?.write_down(&mut self.out);
        Some(())
    }

    /// End a station's run: put out the boards that wait.
    pub fn end(&mut self, line: &str, name: &str) -> Option<()> {
        let index = self.find(line, name)?;
        self.out.bytes.clear();
        self.stations[index].write_open(&mut self.out);
        self.stations[index].run = None;
        Some(())
    }

    pub fn claim_board(&mut self, line: &str, name: &str, group: &str, visit: i64) -> Option<()> {
        let index = self.find(line, name)?;
        let bytes = self.stations[index].claim_board(group, visit)?;
        self.put(&bytes);
        Some(())
    }

    pub fn claim_serial(&mut self, line: &str, name: &str, serial: &str) -> Option<()> {
        let index = self.find(line, name)?;
        let bytes = self.stations[index].claim_serial(serial)?;
        self.put(&bytes);
        Some(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.bytes.clear();
        self.out.bytes.extend_from_slice(bytes);
    }

    pub fn forget(&mut self, line: &str, name: &str, frozen_minute: i64, horizon_minutes: i64) -> Option<()> {
        let index = self.find(line, name)?;
        self.stations[index].forget(frozen_minute, horizon_minutes);
        Some(())
    }

    pub fn rows(&mut self, line: &str, name: &str, all: bool) -> Option<()> {
        let index = self.find(line, name)?;
        self.out.bytes.clear();
        self.stations[index].write_rows(all, &mut self.out);
        Some(())
    }

    pub fn seal(&mut self) {
        self.stations.iter_mut().for_each(Station::seal);
    }

    /// Put out what was taken in since the last time: position, results, marks, verdicts of each kind.
    pub fn taken(&mut self) {
        let (out, told) = (&mut self.out, &mut self.verdicts);
        out.bytes.clear();
        out.array(6);
        for number in [self.position, self.results, self.marks, told.passed, told.failed, told.review] {
            out.int(number);
        }
        (told.passed, told.failed, told.review) = (0, 0, 0);
        (self.results, self.marks) = (0, 0);
    }

    /// Put out the verdicts that were reached since the last time: line, how many, their records.
    pub fn verdicts(&mut self) {
        let (out, told) = (&mut self.out, &mut self.verdicts);
        out.bytes.clear();
        out.array(told.full.len() + told.open.len());
        for (line, sheaf) in told.full.drain(..).chain(told.open.drain(..)) {
            out.array(3);
            out.str(&line);
            out.int(sheaf.count);
            out.bin(&sheaf.bytes);
        }
    }
}

fn kind_of(headers: &[(&[u8], &[u8])]) -> Kind {
    let value = |name: &[u8]| headers.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| *value);
    if !value(b"taktwatch_schema").is_some_and(|schema| schema == b"1" || schema.starts_with(b"1.")) {
        return Kind::Other;
    }
    match value(b"ce_type") {
        Some(b"taktwatch.result") => Kind::Result,
        Some(b"taktwatch.mark") => Kind::Mark,
        _ => Kind::Other,
    }
}
