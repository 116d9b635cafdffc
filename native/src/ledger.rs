//! Which frames of a session have their outcome and which are out: `kpi_engine/ledger.py`, of which this has the part
//! that an ordinary record needs. Both end in the same session; a test compares them over logs of all kinds.

/// Consecutive numbers without outcome; fields as in Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub first: i64,
    pub last: i64,
    pub since_us: i64,
    pub place_us: i64,
    pub product: String,
    pub floor_us: Option<i64>,
    pub missing: bool,
}

/// What is known of a session, as far as an ordinary record reads or changes it.
#[derive(Clone, Debug, Default)]
pub struct Session {
    pub product: String,
    pub top: i64,
    pub newest: i64,
    pub newest_us: i64,
    pub marked: i64,
    pub mark_us: Option<i64>,
    pub heard: Vec<(String, i64)>,
    pub heard_us: i64,
    pub gaps: Vec<Gap>,
    pub head: usize,
    pub pending: i64,
    pub watermark_us: Option<i64>,
    pub inspected: i64,
}

/// When and of what a record tells.
pub struct Told<'a> {
    pub event_us: i64,
    pub product: &'a str,
    pub logged_us: i64,
}

impl Session {
    /// What the watermark will be once a number that is out is in; it moves only where the first that is out comes.
    pub fn watermark_with(&self, seq: i64, event_us: i64) -> Option<i64> {
        let mut out = self.gaps[self.head.min(self.gaps.len())..].iter().filter(|gap| !gap.missing);
        let first = out.next();
        if seq != first.map_or(self.top + 1, |gap| gap.first) {
            return self.watermark_us;
        }
        let next = if first.is_some_and(|gap| gap.last > seq) { first } else { out.next() };
        let bound = match next {
            Some(gap) if gap.first <= seq + 1 => Some(event_us),
            Some(gap) => gap.floor_us,
            None => {
                let newest_us = if seq > self.newest { event_us } else { self.newest_us };
                Some(newest_us.max(self.mark_us.unwrap_or(newest_us)))
            }
        };
        bound.max(self.watermark_us)
    }

    /// What the watermark will be once a mark was heard: it moves where nothing is out.
    pub fn watermark_marked(&self, mark_us: i64, last_seq: i64) -> Option<i64> {
        if self.pending > 0 || last_seq > self.top {
            return self.watermark_us;
        }
        self.watermark_us.max(Some(mark_us.max(self.mark_us.unwrap_or(mark_us)).max(self.newest_us)))
    }

    /// Note an outcome; false, with nothing changed, for a repeat and for what moves a count of missing frames.
    pub fn see(&mut self, seq: i64, told: &Told) -> bool {
        if seq > self.top {
            if self.newest < 0 {
                return false;
            }
            if self.newest == self.top {
                if seq > self.top + 1 {
                    self.gaps.push(Gap {
                        first: self.top + 1,
                        last: seq - 1,
                        since_us: told.logged_us,
                        place_us: self.newest_us,
                        product: self.product.clone(),
                        floor_us: Some(self.newest_us),
                        missing: false,
                    });
                    self.pending += seq - 1 - self.top;
                }
            } else {
                self.run_ahead(seq, told);
            }
            self.top = seq;
        } else {
            let Some(index) = self.find(seq) else { return false };
            let gap = &self.gaps[index];
            if gap.missing || gap.floor_us.is_none() || self.moves_missing(seq) {
                return false;
            }
            self.fill(index, seq, told);
        }
        if seq > self.newest {
            (self.newest, self.newest_us) = (seq, told.event_us);
            if self.product != told.product {
                told.product.clone_into(&mut self.product);
            }
        }
        true
    }

    fn run_ahead(&mut self, seq: i64, told: &Told) {
        if let Some(gap) = self.gaps.last_mut() {
            if gap.last == self.top {
                gap.since_us = told.logged_us;
            }
        }
        self.extend(seq - 1, told);
    }

    /// Make all numbers from the top to `last` pending.
    pub fn extend(&mut self, last: i64, told: &Told) {
        let first = self.top + 1;
        if last < first {
            return;
        }
        self.top = last;
        self.pending += last - first + 1;
        let (mut place_us, mut product, mut floor_us) = (told.event_us, told.product, None);
        if let Some(below) = self.gaps.last_mut().filter(|gap| gap.last == first - 1) {
            if !below.missing {
                below.last = last;
                return;
            }
            let below = self.gaps.last().unwrap();
            let gap = Gap { first, last, since_us: told.logged_us, missing: false, ..below.clone() };
            self.gaps.push(gap);
            return;
        }
        if self.newest >= 0 {
            (place_us, product, floor_us) = (self.newest_us, self.product.as_str(), Some(self.newest_us));
        }
        let product = product.to_owned();
        self.gaps.push(Gap { first, last, since_us: told.logged_us, place_us, product, floor_us, missing: false });
    }

    /// The index of the gap that holds a number.
    fn find(&self, seq: i64) -> Option<usize> {
        let index = self.gaps.partition_point(|gap| gap.first <= seq).checked_sub(1)?;
        if seq <= self.gaps[index].last {
            Some(index)
        } else {
            None
        }
    }

    fn fill(&mut self, index: usize, seq: i64, told: &Told) {
        self.pending -= 1;
        let newest = self.newest;
        let gap = &mut self.gaps[index];
        if gap.first > newest {
            gap.since_us = told.logged_us;
        }
        let mut following = index;
        if gap.first == seq && gap.last == seq {
            self.gaps.remove(index);
        } else if gap.first == seq {
            gap.first = seq + 1;
        } else {
            let rest = Gap { first: seq + 1, ..gap.clone() };
            gap.last = seq - 1;
            following = index + 1;
            if rest.first <= rest.last {
                self.gaps.insert(following, rest);
            }
        }
        self.head = self.head.min(index);
        // gaps that lie directly above this outcome are placed beside it
        let mut next = seq + 1;
        while let Some(gap) = self.gaps.get_mut(following).filter(|gap| gap.first == next) {
            place(gap, told);
            gap.floor_us = Some(told.event_us);
            next = gap.last + 1;
            following += 1;
        }
    }

    /// Whether a gap directly above this number was declared missing: its frames would be counted elsewhere.
    fn moves_missing(&self, seq: i64) -> bool {
        let mut next = seq + 1;
        let above = self.gaps.partition_point(|gap| gap.first <= seq);
        for gap in &self.gaps[above..] {
            if gap.first != next {
                return false;
            }
            if gap.missing {
                return true;
            }
            next = gap.last + 1;
        }
        false
    }

    /// The event time up to which every frame has its outcome or is missing; it never goes back.
    pub fn watermark(&mut self) -> Option<i64> {
        while self.gaps.get(self.head).is_some_and(|gap| gap.missing) {
            self.head += 1;
        }
        let bound = match self.gaps.get(self.head) {
            Some(gap) => gap.floor_us,
            None if self.newest >= 0 => Some(self.newest_us.max(self.mark_us.unwrap_or(self.newest_us))),
            None => self.mark_us,
        };
        if bound > self.watermark_us {
            self.watermark_us = bound;
        }
        self.watermark_us
    }

    /// Log time since when the oldest pending number has been out.
    pub fn waiting_since(&self) -> Option<i64> {
        if self.pending == 0 {
            return None;
        }
        self.gaps[self.head.min(self.gaps.len())..].iter().filter(|gap| !gap.missing).map(|gap| gap.since_us).min()
    }
}

/// Nothing missing is placed here (`moves_missing`), and no event lies in final windows: no count moves.
fn place(gap: &mut Gap, told: &Told) {
    gap.place_us = told.event_us;
    if gap.product != told.product {
        told.product.clone_into(&mut gap.product);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(us: i64) -> Told<'static> {
        Told { event_us: us, product: "p", logged_us: 1000 + us }
    }

    fn begun() -> Session {
        Session { product: "p".into(), top: 0, newest: 0, marked: -1, watermark_us: Some(0), ..Session::default() }
    }

    #[test]
    fn a_number_left_out_holds_the_watermark_until_it_comes() {
        let mut session = begun();
        assert!(session.see(1, &told(10)));
        assert_eq!(session.watermark(), Some(10));
        assert!(session.see(3, &told(30)));
        assert_eq!(session.watermark(), Some(10));
        assert_eq!((session.pending, session.waiting_since()), (1, Some(1030)));
        assert!(!session.see(3, &told(30)));
        assert!(session.see(2, &told(20)));
        assert_eq!((session.watermark(), session.pending), (Some(30), 0));
    }

    #[test]
    fn the_watermark_is_known_before_a_number_or_a_mark_is_taken() {
        for mark_us in [None, Some(5), Some(50)] {
            for last in [0, 4] {
                for order in [[1, 2, 3, 4], [2, 1, 4, 3], [4, 2, 3, 1], [3, 4, 1, 2]] {
                    let mut session = Session { mark_us, ..begun() };
                    for (place, seq) in order.into_iter().enumerate() {
                        if place == 2 {
                            let bound = session.watermark_marked(12, last);
                            session.mark_us = session.mark_us.max(Some(12));
                            session.extend(last, &told(12));
                            assert_eq!(session.watermark(), bound);
                        }
                        let bound = session.watermark_with(seq, 10 * seq);
                        assert!(session.see(seq, &told(10 * seq)));
                        assert_eq!(session.watermark(), bound, "{mark_us:?} {last} {order:?} {seq}");
                    }
                }
            }
        }
    }
}
