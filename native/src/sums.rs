//! What a share of a minute changed by: `kpi_engine/sums.py`, of which this has what an ordinary record adds to.

use crate::json::{Picture, Verdict};
use crate::msgpack::Writer;

/// Changes of one share of one minute, and the offsets of the first and the last record that made them.
#[derive(Debug)]
pub struct Change {
    pub share: String,
    pub minute: i64,
    pub first: i64,
    pub last: i64,
    frames: i64,
    inspected: i64,
    passed: i64,
    failed: i64,
    review: i64,
    first_pass: i64,
    first_pass_passed: i64,
    opportunities: i64,
    latency_sum_us: i64,
    scored: i64,
    score_sum_bp: i64,
    score_squares_bp2: i64,
    marks: i64,
    latency_buckets: Vec<(i64, i64)>,
    defects: Vec<(String, i64)>,
}

impl Change {
    pub fn new(share: &str, minute: i64, offset: i64) -> Self {
        Change {
            share: share.to_owned(),
            minute,
            first: offset,
            last: offset,
            frames: 0,
            inspected: 0,
            passed: 0,
            failed: 0,
            review: 0,
            first_pass: 0,
            first_pass_passed: 0,
            opportunities: 0,
            latency_sum_us: 0,
            scored: 0,
            score_sum_bp: 0,
            score_squares_bp2: 0,
            marks: 0,
            latency_buckets: Vec::new(),
            defects: Vec::new(),
        }
    }

    /// Count a picture and what is seen in it; `structures` are classes that are no defects.
    pub fn add_picture(&mut self, picture: &Picture, structures: &[String]) {
        self.frames += 1;
        for (label, score) in &picture.detections {
            if structures.iter().any(|name| name == label) {
                continue;
            }
            let score_bp = (score * 10_000.0).round_ties_even() as i64;
            self.scored += 1;
            self.score_sum_bp += score_bp;
            self.score_squares_bp2 += score_bp * score_bp;
            match self.defects.iter_mut().find(|(name, _)| name == label) {
                Some((_, count)) => *count += 1,
                None => self.defects.push(((*label).to_owned(), 1)),
            }
        }
    }

    /// Count a board; `first`: it is the first pass of its serial, or has none.
    pub fn add_board(&mut self, verdict: Verdict, opportunities: i64, latency_us: i64, first: bool) {
        let passed = i64::from(verdict == Verdict::Pass);
        self.inspected += 1;
        self.passed += passed;
        self.failed += i64::from(verdict == Verdict::Fail);
        self.review += i64::from(verdict == Verdict::Review);
        if first {
            self.first_pass += 1;
            self.first_pass_passed += passed;
        }
        self.opportunities += opportunities;
        self.latency_sum_us += latency_us;
        let bucket = latency_bucket(latency_us);
        match self.latency_buckets.iter_mut().find(|(key, _)| *key == bucket) {
            Some((_, count)) => *count += 1,
            None => self.latency_buckets.push((bucket, 1)),
        }
    }

    pub fn add_mark(&mut self) {
        self.marks += 1;
    }

    /// Append the change in the order of `kpi_engine.compiled.Change`.
    pub fn write(&self, out: &mut Writer) {
        out.array(19);
        out.str(&self.share);
        for number in [
            self.minute,
            self.first,
            self.last,
            self.frames,
            self.inspected,
            self.passed,
            self.failed,
            self.review,
            self.first_pass,
            self.first_pass_passed,
            self.opportunities,
            self.latency_sum_us,
            self.scored,
            self.score_sum_bp,
            self.score_squares_bp2,
            self.marks,
        ] {
            out.int(number);
        }
        out.map(self.latency_buckets.len());
        for (bucket, count) in &self.latency_buckets {
            out.int(*bucket);
            out.int(*count);
        }
        out.map(self.defects.len());
        for (label, count) in &self.defects {
            out.str(label);
            out.int(*count);
        }
    }
}

/// Key of the histogram bucket [2^(k/4), 2^((k+1)/4)) us; what is below 1 us goes to bucket 0.
pub fn latency_bucket(latency_us: i64) -> i64 {
    (4.0 * (latency_us.max(1) as f64).log2()).floor() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_quarters_of_a_doubling() {
        assert_eq!([0, 1, 1023, 1024].map(latency_bucket), [0, 0, 39, 40]);
    }
}
