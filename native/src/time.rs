//! Times as the records' JSON has them (RFC 3339, UTC), in whole microseconds since 1970.

/// From 1990 to 2200: other times are refused by name, which is not done here.
pub const EARLIEST_US: i64 = 631_152_000_000_000;
pub const LATEST_US: i64 = 7_258_118_400_000_000;

/// `2026-03-03T06:00:00.004000Z` or without a fraction, exactly so; None for any other spelling.
pub fn parse(text: &[u8]) -> Option<i64> {
    let micros = match text.len() {
        20 => 0,
        27 if text[19] == b'.' => digits(&text[20..26])?,
        _ => return None,
    };
    let shape = text[4] == b'-' && text[7] == b'-' && text[10] == b'T' && text[13] == b':' && text[16] == b':';
    if !shape || text[text.len() - 1] != b'Z' {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    let (hour, minute, second) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// Appends a time as msgspec writes it: the fraction only where there is one.
pub fn write(us: i64, out: &mut Vec<u8>) {
    let (seconds, micros) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, date) = civil(day);
    number(year, 4, out);
    out.push(b'-');
    number(month, 2, out);
    out.push(b'-');
    number(date, 2, out);
    out.push(b'T');
    number(second / 3600, 2, out);
    out.push(b':');
    number(second / 60 % 60, 2, out);
    out.push(b':');
    number(second % 60, 2, out);
    if micros > 0 {
        out.push(b'.');
        number(micros, 6, out);
    }
    out.push(b'Z');
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| match byte {
        b'0'..=b'9' => Some(number * 10 + i64::from(byte - b'0')),
        _ => None,
    })
}

fn number(mut value: i64, width: usize, out: &mut Vec<u8>) {
    let end = out.len() + width;
    out.resize(end, b'0');
    for place in 1..=width {
        out[end - place] = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date of the Gregorian calendar; years are counted from March (as in H. Hinnant's algorithms).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_alike() {
        for (text, us) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1990-01-01T00:00:00Z", EARLIEST_US),
            ("2200-01-01T00:00:00Z", LATEST_US),
            ("2026-03-03T06:00:00.004000Z", 1_772_517_600_004_000),
            ("2024-02-29T23:59:59.999999Z", 1_709_251_199_999_999),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(us), "{text}");
            let mut out = Vec::new();
            write(us, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        for day in (-20_000..200_000).step_by(13) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }

    #[test]
    fn other_spellings_are_left_alone() {
        for text in [
            "2026-03-03T06:00:00.004Z",
            "2026-03-03T06:00:00+00:00",
            "2026-02-29T06:00:00Z",
            "2026-13-01T06:00:00Z",
            "2026-03-03 06:00:00Z",
            "2026-03-03T24:00:00Z",
            "",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
