//! First pass or re-inspection: `kpi_engine/serials.py`, of which this has visits that come in order of their time.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::msgpack::{Reader, Writer};

/// So many names of sessions and shares are looked through.
const FEW: usize = 8;

/// One inspection of a board with a serial; fields as in Python.
#[derive(Clone, Debug)]
pub struct Visit {
    pub event_us: i64,
    pub session: Rc<str>,
    pub number: i64,
    pub minute: i64,
    pub share: Rc<str>,
    pub passed: bool,
    pub first: bool,
}

/// Serials seen lately: those that are kept here by their visits, those that Python holds by their last minute.
#[derive(Default)]
pub struct Serials {
    seen: HashMap<Rc<str>, Vec<Visit>>,
    held: HashMap<Rc<str>, i64>,
    due: BTreeMap<i64, Vec<Rc<str>>>,
    fresh: Vec<Rc<str>>,
    names: Vec<Rc<str>>,
    name: String,
}

impl Serials {
    fn look_for(&mut self, product: &str, serial: &str) {
        self.name.clear();
        self.name.push_str(product);
        self.name.push('\x1f');
        self.name.push_str(serial);
    }

    /// Whether a visit at that time would be its serial's first pass; None where that is for Python to say.
    pub fn is_first(
        &mut self,
        product: &str,
        serial: &str,
        event_us: i64,
        minute: i64,
        frozen_minute: i64,
        horizon_minutes: i64,
    ) -> Option<bool> {
        self.look_for(product, serial);
        if self.held.contains_key(self.name.as_str()) {
            return None;
        }
        let Some(visits) = self.seen.get(self.name.as_str()) else { return Some(true) };
        let mut leader: Option<i64> = None;
        for known in visits {
            let first = leader.map_or(true, |leader| known.minute > leader + horizon_minutes);
            if known.event_us >= event_us || (first != known.first && known.minute >= frozen_minute) {
                return None; // it comes before one that is known, or one of those has another rank by now
            }
            if first {
                leader = Some(known.minute);
            }
        }
        Some(leader.map_or(true, |leader| minute > leader + horizon_minutes))
    }

    /// Put a visit behind those of its serial.
    pub fn add(&mut self, product: &str, serial: &str, visit: Visit) {
        self.look_for(product, serial);
        let minute = visit.minute;
        let key = match self.seen.get_key_value(self.name.as_str()) {
            Some((key, _)) => key.clone(),
            None => Rc::from(self.name.as_str()),
        };
        self.due.entry(minute).or_default().push(key.clone());
        self.fresh.push(key.clone());
        self.seen.entry(key).or_insert_with(|| Vec::with_capacity(1)).push(visit);
    }

    /// Read a serial and its visits out of a block, in place of what is known of it.
    pub fn load(&mut self, back: &mut Reader) -> Option<()> {
        let key: Rc<str> = Rc::from(back.str()?);
        let mut visits: Vec<Visit> = Vec::with_capacity(1);
        for _ in 0..back.array()? {
            if back.array()? != 7 {
                return None;
            }
            let (event_us, session) = (back.int()?, self.name_of(back.str()?));
            let (number, minute) = (back.int()?, back.int()?);
            let share = self.name_of(back.str()?);
            visits.push(Visit { event_us, session, number, minute, share, passed: back.bool()?, first: back.bool()? });
            self.due.entry(minute).or_default().push(key.clone());
        }
        self.seen.insert(key, visits);
        Some(())
    }

    /// One copy of a session's or a share's name, for as many visits as follow each other with it.
    fn name_of(&mut self, name: &str) -> Rc<str> {
        if let Some(known) = self.names.iter().find(|known| &***known == name) {
            return known.clone();
        }
        if self.names.len() > FEW {
            self.names.clear();
        }
        self.names.push(Rc::from(name));
        self.names[self.names.len() - 1].clone()
    }

    /// Give a serial's visits to Python, as their bytes; None where they are not here.
    pub fn claim(&mut self, name: &str) -> Option<Vec<u8>> {
        let (key, visits) = self.seen.remove_entry(name)?;
        self.held.insert(key, visits.last().map_or(0, |visit| visit.minute));
        let mut out = Writer::default();
        write_visits(&visits, &mut out);
        Some(out.bytes)
    }

    /// Note that Python holds a serial last seen in that minute.
    pub fn hold(&mut self, name: &str, minute: i64) {
        let key: Rc<str> = Rc::from(name);
        self.seen.remove(name);
        self.held.insert(key.clone(), minute);
        self.due.entry(minute).or_default().push(key);
    }

    /// Forget visits in final windows, but for a first pass that visits still to come may be a re-inspection of.
    pub fn forget(&mut self, frozen_minute: i64, horizon_minutes: i64) {
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() < frozen_minute) {
            for name in entry.remove() {
                self.forget_one(&name, frozen_minute, horizon_minutes);
            }
        }
    }

    fn forget_one(&mut self, name: &Rc<str>, frozen_minute: i64, horizon_minutes: i64) {
        if let Some(minute) = self.held.get(name) {
            if *minute + horizon_minutes < frozen_minute {
                self.held.remove(name);
            } else {
                self.due.entry(*minute + horizon_minutes).or_default().push(name.clone());
            }
        }
        let Some(visits) = self.seen.get_mut(name) else { return };
        if visits.first().is_some_and(|known| known.minute >= frozen_minute) {
            return;
        }
        let leader = visits.iter().rposition(|known| known.minute < frozen_minute && known.first);
        let kept = leader.filter(|index| visits[*index].minute + horizon_minutes >= frozen_minute);
        if let Some(index) = kept {
            self.due.entry(visits[index].minute + horizon_minutes).or_default().push(name.clone());
        }
        let mut index = 0;
        visits.retain(|known| {
            index += 1;
            known.minute >= frozen_minute || kept == Some(index - 1)
        });
        if visits.is_empty() {
            self.seen.remove(name);
        }
    }

    /// Append the serials (all, or those not sealed yet) by name, with their visits; return the newest minute of them.
    pub fn write(&self, all: bool, out: &mut Writer) -> i64 {
        let mut found: Vec<(&Rc<str>, &Vec<Visit>)> = if all {
            self.seen.iter().collect()
        } else {
            self.fresh.iter().filter_map(|name| self.seen.get_key_value(name)).collect()
        };
        if !all {
            found.sort_unstable_by_key(|(name, _)| Rc::as_ptr(name).cast::<u8>() as usize);
            found.dedup_by_key(|(name, _)| Rc::as_ptr(name).cast::<u8>() as usize);
        }
        out.map(found.len());
        let mut newest = 0;
        for (name, visits) in found {
            out.str(name);
            write_visits(visits, out);
            newest = newest.max(visits.last().map_or(0, |visit| visit.minute));
        }
        newest
    }

    pub fn count(&self) -> usize {
        self.seen.len()
    }

    pub fn seal(&mut self) {
        self.fresh.clear();
    }
}

fn write_visits(visits: &[Visit], out: &mut Writer) {
    out.array(visits.len());
    for visit in visits {
        out.array(7);
        out.int(visit.event_us);
        out.str(&visit.session);
        out.int(visit.number);
        out.int(visit.minute);
        out.str(&visit.share);
        out.bool(visit.passed);
        out.bool(visit.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(minute: i64, first: bool) -> Visit {
        let (session, share) = (Rc::from("s"), Rc::from("p"));
        Visit { event_us: minute * 60_000_000, session, number: minute, minute, share, passed: true, first }
    }

    #[test]
    fn a_serial_seen_within_the_horizon_is_inspected_again() {
        let mut serials = Serials::default();
        assert_eq!(serials.is_first("p", "1", 60, 0, 0, 10), Some(true));
        serials.add("p", "1", visit(1, true));
        assert_eq!(serials.is_first("p", "1", 700_000_000, 11, 0, 10), Some(false));
        assert_eq!(serials.is_first("p", "1", 760_000_000, 12, 0, 10), Some(true));
        assert_eq!(serials.is_first("p", "1", 60_000_000, 1, 0, 10), None);
        assert!(serials.claim("p\x1f1").is_some());
        assert_eq!(serials.is_first("p", "1", 760_000_000, 12, 0, 10), None);
        serials.forget(12, 10);
        assert_eq!(serials.is_first("p", "1", 760_000_000, 12, 0, 10), Some(true));
    }

    #[test]
    fn of_final_minutes_a_first_pass_is_kept_for_one_horizon_more() {
        let mut serials = Serials::default();
        serials.add("p", "1", visit(1, true));
        serials.add("p", "1", visit(2, false));
        serials.forget(5, 10);
        assert_eq!(serials.seen["p\x1f1"].len(), 1);
        serials.forget(11, 10);
        assert_eq!(serials.seen.len(), 1);
        serials.forget(12, 10);
        assert_eq!((serials.seen.len(), serials.due.len()), (0, 0));
    }
}
