//! Every drawing against its golden file in `tests/golden/web`. `KEYWARD_BLESS=1 cargo test picture` writes them anew:
//! then look at them.

use std::path::Path;

use super::*;

fn check(name: &str, svg: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/web/{name}.svg"));
    let text = format!("{}\n", svg.replace("><", ">\n<"));
    if std::env::var_os("KEYWARD_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{} is not what it was:\n{text}", path.display());
}

#[test]
fn bars_stand_on_one_another_with_marks_above_them() {
    let bar = |title: &str, label: &str, parts: [f64; 2]| Bar {
        title: title.to_owned(),
        label: label.to_owned(),
        parts: vec![("s-low", parts[0]), ("s-critical", parts[1])],
    };
    let bars = vec![
        bar("09:00", "09:00", [10.0, 5.0]),
        bar("10:00", "", [0.0, 0.0]),
        bar("11:00", "11:00", [0.0, 0.01]),
    ];
    let mark = Mark { bar: 0, class: "s-critical", title: "a ban".to_owned() };
    let drawn = Bars { description: "Events \"by\" <hour>".to_owned(), bars, marks: vec![mark] }.svg();
    assert!(drawn.contains("aria-label=\"Events &quot;by&quot; &lt;hour&gt;\""));
    check("bars", &drawn);
}

#[test]
fn nothing_at_all_can_be_drawn() {
    check("no_bars", &Bars::default().svg());
    check("no_line", &Line::default().svg());
    check("no_week", &week(&[], None));
}

#[test]
fn a_week_is_darker_where_there_is_more_and_today_is_framed() {
    let mut usual = vec![vec![0.0; 24]; 7];
    (usual[0][9], usual[0][10], usual[6][23]) = (10.0, 2.0, 0.1);
    let mut today = vec![0.0; 24];
    today[9] = 4.0;
    check("week", &week(&usual, Some((0, &today))));
}

#[test]
fn a_line_goes_on_into_what_is_expected_below_its_limit() {
    let line = Line {
        description: "Cost".to_owned(),
        known: vec![0.0, 1.0, 3.0],
        steps: 6,
        end: Some(Band { expected: 8.0, interval: Some((6.0, 11.0)) }),
        limit: Some((9.0, "budget".to_owned())),
        labels: vec![(1, "11-01".to_owned())],
    };
    check("line", &line.svg());
}

#[test]
fn places_are_where_they_are_on_the_map() {
    let dot = |latitude, longitude, title: &str| Dot {
        latitude,
        longitude,
        class: "m-usual",
        title: title.to_owned(),
        weight: 1.0,
    };
    let drawn = map("Places", &[dot(0.0, 0.0, "Null Island"), dot(-90.0, 200.0, "beyond")]);
    let dots = drawn.split_once("<circle").map(|(_, dots)| dots).unwrap();
    assert!(
        dots.contains("cx=\"360\" cy=\"168\" r=\"9\"") && dots.contains("cx=\"720\" cy=\"280\""),
        "{dots}"
    );
    check("map", &drawn[drawn.find("<circle").unwrap()..]);
}

#[test]
fn a_meter_says_whether_little_much_or_all_is_used() {
    for (share, class) in
        [(0.0, "some"), (0.5, "some"), (0.8, "much"), (1.0, "full"), (7.0, "full"), (f64::NAN, "some")]
    {
        assert!(meter(share).contains(&format!("class=\"meter {class}\"")), "{share}");
    }
    check("meter", &meter(0.333));
}
