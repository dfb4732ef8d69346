//! Dates, periods and zones: known days, clock changes over midnight, and random zones and times.

use chrono::{DateTime, NaiveDateTime, TimeZone as _};
use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;

use super::{Calendar, FIRST, LAST, TimeError, Zone, format_millis, parse_http_date, parse_millis, strftime};
use crate::domain::{DAY, HOUR, MINUTE, Millis};

fn at(text: &str) -> Millis {
    parse_millis(text).unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap()
}

fn period(calendar: Calendar, now: &str, zone_name: &str) -> [String; 2] {
    let (begin, end) = calendar.period(at(now), &zone(zone_name));
    [begin, end].map(|time| format_millis(time).replace(".000", ""))
}

#[test]
fn times_are_rfc_3339_utc_with_milliseconds() {
    assert_eq!(format_millis(1_772_442_802_123), "2026-03-02T09:13:22.123Z");
    assert_eq!(format_millis(1_772_442_802_000), "2026-03-02T09:13:22.000Z");
    assert_eq!(format_millis(-1), "1969-12-31T23:59:59.999Z");
    assert_eq!(parse_millis("2026-03-02T10:13:22.123+01:00"), Ok(1_772_442_802_123));
}

#[test]
fn a_time_may_be_written_as_iso_8601_shortens_it() {
    for text in [
        "2026-03-02T09:13:22Z",
        "2026-03-02t09:13:22z",
        "2026-03-02 09:13:22Z",
        "2026-03-02T09:13:22.000999Z",
        "2026-03-02T10:13:22+0100",
        "2026-03-02T10:13:22+01",
        "2026-03-02 04:43:22.0-04:30",
    ] {
        assert_eq!(parse_millis(text), Ok(1_772_442_802_000), "{text}");
    }
    assert_eq!(at("2026-03-02T09:13Z"), at("2026-03-02T09:13:00Z"));
    assert_eq!(at("2016-12-31T23:59:60.5Z"), at("2016-12-31T23:59:59.5Z"), "a leap second");
}

#[test]
fn what_is_no_time_is_an_error_that_says_what_a_time_is() {
    for text in [
        "",
        "now",
        "24h",
        "7d",
        "2026-03-02",
        "2026-03-02T09:13:22",
        "2026-03-02T09Z",
        "2026-02-30T00:00:00Z",
        "2026-03-02T24:00:00Z",
        "2026-03-02T09:13:22+25:00",
        "26-03-02T09:13:22Z",
        "2026-03-02T09:13:22Zulu",
        "2026-03-0é+01",
    ] {
        let error = parse_millis(text).unwrap_err();
        assert!(matches!(error, TimeError::Form(_)), "{text}");
        assert_eq!(error.to_string(), "must be an RFC 3339 time such as 2027-01-01T00:00:00Z");
        assert!(std::error::Error::source(&error).is_some(), "it keeps what the library said");
    }
}

#[test]
fn years_beyond_four_digits_have_no_date() {
    assert_eq!((at("0000-01-01T00:00:00Z"), at("9999-12-31T23:59:59.999Z")), (FIRST, LAST));
    for text in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
        assert_eq!(parse_millis(text), Err(TimeError::Range), "{text}");
    }
    for time in [FIRST - 1, LAST + 1, Millis::MIN, Millis::MAX] {
        assert_eq!(format_millis(time), "1970-01-01T00:00:00.000Z");
        assert_eq!((strftime(time, "%Y"), zone("Asia/Tokyo").weekday_and_hour(time)), (None, None));
    }
    let all = [Calendar::Hour, Calendar::Day, Calendar::Week, Calendar::Month];
    for (now, calendar) in
        [FIRST - 1, LAST + 1, 1 << 53, -(1 << 53)].map(|now| all.map(|c| (now, c))).concat()
    {
        let begin = now.div_euclid(DAY) * DAY;
        assert_eq!(calendar.period(now, &zone("Europe/Berlin")), (begin, begin + DAY));
    }
    for (now, calendar) in [FIRST, LAST].map(|now| all.map(|c| (now, c))).concat() {
        let (begin, end) = calendar.period(now, &zone("Pacific/Auckland"));
        assert!(begin <= now && now < end, "{begin} {now} {end}");
    }
}

#[test]
fn dates_of_http_and_patterns_are_read_and_written() {
    assert_eq!(parse_http_date("Mon, 02 Mar 2026 09:13:22 GMT"), Some(at("2026-03-02T09:13:22Z")));
    assert_eq!(parse_http_date("Tue, 02 Mar 2026 09:13:22 GMT"), None, "it was a Monday");
    assert_eq!(parse_http_date("soon"), None);
    assert_eq!(strftime(1_772_442_802_123, "%b %d %Y %H:%M:%S%.3f").unwrap(), "Mar 02 2026 09:13:22.123");
    assert_eq!(strftime(0, "%!"), None, "no such pattern");
}

#[test]
fn zones_are_found_by_name_in_any_case_and_aliases_keep_theirs() {
    for name in [
        "UTC",
        "Etc/UTC",
        "Asia/Tokyo",
        "Asia/Calcutta",
        "Asia/Kolkata",
        "US/Eastern",
        "America/Argentina/Ushuaia",
    ] {
        assert_eq!(zone(name).name(), name);
        assert_eq!(zone(&name.to_ascii_lowercase()).name(), name);
    }
    assert_eq!(zone("UTC"), Zone::UTC);
    for name in ["", "Mars/Olympus", "Asia", "Asia/Tokyo ", "+01:00", "local", "Asia__Tokyo", "../Asia/Tokyo"]
    {
        assert_eq!(Zone::named(name), None, "{name}");
    }
}

#[test]
fn periods_follow_the_calendar_of_their_zone() {
    let month = period(Calendar::Month, "2026-03-01T02:00:00Z", "America/New_York");
    assert_eq!(month, ["2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z"]);
    let week = period(Calendar::Week, "2026-03-08T14:59:59Z", "Asia/Tokyo");
    assert_eq!(week, ["2026-03-01T15:00:00Z", "2026-03-08T15:00:00Z"]);
    let hour = period(Calendar::Hour, "2026-03-08T10:20:00Z", "Asia/Kathmandu");
    assert_eq!(hour, ["2026-03-08T10:15:00Z", "2026-03-08T11:15:00Z"]);
    let hour = period(Calendar::Hour, "2026-03-08T10:20:00Z", "Asia/Kolkata");
    assert_eq!(hour, ["2026-03-08T09:30:00Z", "2026-03-08T10:30:00Z"]);
    assert_eq!(zone("Asia/Kathmandu").weekday_and_hour(at("2026-03-08T18:20:00Z")), Some((0, 0)));
}

#[test]
fn days_of_23_and_25_hours_are_days() {
    let hours = |now: &str| {
        let (begin, end) = Calendar::Day.period(at(now), &zone("Europe/Berlin"));
        (end - begin) / HOUR
    };
    assert_eq!(hours("2026-03-29T10:00:00Z"), 23);
    assert_eq!(hours("2026-10-25T10:00:00Z"), 25);
    // The hour that is repeated is two.
    let twice = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"];
    let periods = twice.map(|now| Calendar::Hour.period(at(now), &zone("Europe/Berlin")));
    assert_eq!(periods[0].1, periods[1].0);
}

#[test]
fn a_midnight_that_is_skipped_begins_with_the_clock_change() {
    for (zone, now, begin) in [
        ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z"),
        ("Asia/Beirut", "2026-03-29T12:00:00Z", "2026-03-28T22:00:00Z"),
        ("Africa/Cairo", "2026-04-24T12:00:00Z", "2026-04-23T22:00:00Z"),
        // From 23:30 to 00:30.
        ("America/Toronto", "1919-03-31T12:00:00Z", "1919-03-31T04:30:00Z"),
    ] {
        assert_eq!(period(Calendar::Day, now, zone)[0], begin, "{zone}");
        let before = Calendar::Day.period(at(begin) - 1, &Zone::named(zone).unwrap());
        assert_eq!(before.1, at(begin), "{zone}");
    }
}

#[test]
fn a_midnight_that_comes_twice_begins_the_day_once() {
    // From 01:00 back to 00:00: midnight, and an hour later midnight again.
    let day = period(Calendar::Day, "2025-11-02T12:00:00Z", "America/Havana");
    assert_eq!(day, ["2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z"]);
    // From 00:00 back to 23:00: the last hour of the day is repeated.
    let day = period(Calendar::Day, "2018-02-17T12:00:00Z", "America/Sao_Paulo");
    assert_eq!(day, ["2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z"]);
    // From 00:01 back to 23:01: the new day has begun, and goes on.
    for now in ["2010-11-07T02:30:30Z", "2010-11-07T03:00:00Z", "2010-11-07T12:00:00Z"] {
        let day = period(Calendar::Day, now, "America/St_Johns");
        assert_eq!(day, ["2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"], "{now}");
    }
}

#[test]
fn a_day_that_a_zone_left_out_is_no_period() {
    let before = period(Calendar::Day, "2011-12-30T09:00:00Z", "Pacific/Apia");
    assert_eq!(before, ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"]);
    let after = period(Calendar::Day, "2011-12-30T11:00:00Z", "Pacific/Apia");
    assert_eq!(after, ["2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"]);
    let week = period(Calendar::Week, "2011-12-30T11:00:00Z", "Pacific/Apia");
    assert_eq!(week, ["2011-12-26T10:00:00Z", "2012-01-01T10:00:00Z"]);
}

#[test]
fn an_hour_in_which_clocks_change_is_two() {
    // From 02:00 back to 01:30, and from 02:00 to 02:30.
    for (change, zone_name) in
        [("2026-04-04T15:00:00Z", "Australia/Lord_Howe"), ("2026-10-03T15:30:00Z", "Australia/Lord_Howe")]
    {
        let (change, zone) = (at(change), zone(zone_name));
        assert_eq!(Calendar::Hour.period(change - 1, &zone), (change - HOUR, change));
        assert_eq!(Calendar::Hour.period(change, &zone), (change, change + 30 * MINUTE));
    }
    let (change, zone) = (at("2010-11-07T02:31:00Z"), zone("America/St_Johns"));
    assert_eq!(Calendar::Hour.period(change - 1, &zone), (change - MINUTE, change));
    assert_eq!(Calendar::Hour.period(change, &zone), (change, change + 59 * MINUTE));
}

#[test]
fn the_days_weeks_and_months_of_two_centuries_follow_each_other() {
    let names = [
        "America/Juneau",
        "America/St_Johns",
        "America/Havana",
        "Asia/Beirut",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ];
    for (name, calendar) in
        names.map(|name| [Calendar::Day, Calendar::Week, Calendar::Month].map(|c| (name, c))).concat()
    {
        let (mut now, end) = (at("1860-01-01T00:00:00Z"), at("2105-01-01T00:00:00Z"));
        now = calendar.period(now, &zone(name)).1;
        while now < end {
            let (begin, next) = calendar.period(now, &zone(name));
            assert_eq!(begin, now, "{name} {}", format_millis(now));
            assert!(next > begin, "{name} {}", format_millis(now));
            now = next;
        }
    }
}

/// What clocks show, straight from the offset: the library is asked in the direction that has one answer.
fn local(time: Millis, zone: Zone) -> NaiveDateTime {
    let time = DateTime::from_timestamp_millis(time).unwrap().naive_utc();
    zone.0.from_utc_datetime(&time).naive_local()
}

fn zones() -> impl Strategy<Value = Zone> {
    (0..TZ_VARIANTS.len()).prop_map(|n| Zone(TZ_VARIANTS[n]))
}

/// Mostly times in which clocks are changed.
fn times() -> impl Strategy<Value = Millis> {
    let usual = at("1900-01-01T00:00:00Z")..at("2100-01-01T00:00:00Z");
    prop_oneof![9 => usual, 1 => FIRST + 40 * DAY..LAST - 40 * DAY]
}

/// A time near a clock change of the zone, if there is one within 200 days after `time`.
fn near_a_change(time: Millis, zone: Zone) -> Millis {
    let days = (0..200).map(|n| time + n * DAY);
    let before = days.clone().find(|day| zone.offset(*day) != zone.offset(day + DAY));
    before.map_or(time, |day| zone.change(day, day + DAY))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_moment_is_in_one_period_and_periods_tile_time(
        zone in zones(), time in times(), off in -2 * HOUR..2 * HOUR,
    ) {
        let now = near_a_change(time.clamp(FIRST + 40 * DAY, LAST - 240 * DAY), zone) + off;
        for calendar in [Calendar::Hour, Calendar::Day, Calendar::Week, Calendar::Month] {
            let (begin, end) = calendar.period(now, &zone);
            prop_assert!(begin <= now && now < end, "{begin} {now} {end}");
            prop_assert_eq!(calendar.period(begin, &zone), (begin, end));
            prop_assert_eq!(calendar.period(end - 1, &zone), (begin, end));
            prop_assert_eq!(calendar.period(begin - 1, &zone).1, begin);
            prop_assert_eq!(calendar.period(end, &zone).0, end);
        }
    }

    #[test]
    fn a_day_begins_when_its_date_first_shows(zone in zones(), time in times(), off in -2 * HOUR..2 * HOUR) {
        let now = near_a_change(time.clamp(FIRST + 40 * DAY, LAST - 240 * DAY), zone) + off;
        let (begin, end) = Calendar::Day.period(now, &zone);
        let day = local(begin, zone).date();
        prop_assert!(local(now, zone).date() <= day, "{day}");
        prop_assert!(local(end, zone).date() > day, "{day}");
        let shown_before = (1..=3 * 24 * 4).map(|quarters| begin - quarters * 15 * MINUTE);
        for time in shown_before.chain([begin - 1]) {
            prop_assert!(local(time, zone).date() < day, "{day} shows at {}", format_millis(time));
        }
        let of_midnight = local(begin, zone).time() == chrono::NaiveTime::MIN;
        prop_assert!(of_midnight || zone.offset(begin - 1) != zone.offset(begin), "{day} begins at {begin}");
    }

    #[test]
    fn a_time_that_is_written_is_read_as_it_was(time in FIRST..=LAST) {
        prop_assert_eq!(parse_millis(&format_millis(time)), Ok(time));
    }
}

#[test]
fn a_date_is_the_first_moment_of_its_day_in_the_zone() {
    let begin = |zone: &str, date: &str| Zone::named(zone).unwrap().begin_of_day(date).map(format_millis);
    assert_eq!(begin("Asia/Tokyo", "2026-03-01").as_deref(), Some("2026-02-28T15:00:00.000Z"));
    assert_eq!(begin("UTC", "2026-03-01").as_deref(), Some("2026-03-01T00:00:00.000Z"));
    // Midnight does not come on the day that clocks go forward at it.
    assert_eq!(begin("America/Santiago", "2026-09-06").as_deref(), Some("2026-09-06T04:00:00.000Z"));
    for no_date in ["2026-3-1", "2026-02-30", "20260301xx", "2026-03-01T", "", "+026-03-01"] {
        assert_eq!(begin("UTC", no_date), None, "{no_date}");
    }
}
