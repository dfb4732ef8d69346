//! Spend that is judged every few minutes, as it is by default.

use super::*;

#[tokio::test]
async fn with_checks_every_five_minutes_a_key_is_cut_off_in_its_first_quarter_of_an_hour_and_once() {
    const FIVE: Millis = 5 * MINUTE;
    let mut books = Books::open(|rules| rules.interval = CheckInterval::of_minutes(5).unwrap()).await;
    books.usual("a").await;
    let morning = TODAY + 10 * HOUR;
    for (n, dollars) in (1..).zip([400.0, 10.0, 10.0, 10.0, 10.0]) {
        // Books are of half an hour after what is said.
        books.book("a", [(morning + (n - 1) * FIVE - 30 * MINUTE, dollars)]).await;
        for seconds in [9, 10, 11, 200] {
            books.day.now = morning + n * FIVE + seconds * SECOND;
            for engine in [&books.second, &books.day.engine] {
                engine.upkeep.spend.watch(books.day.now).await.unwrap();
            }
        }
    }
    let logged = books.logged(EventType::SpendAnomaly).await;
    let logged: Vec<_> = logged.iter().map(|event| (event.time - morning, event.severity)).collect();
    assert_eq!(logged, [(FIVE + 10 * SECOND, Severity::Critical)]);
    let cut = books.logged(EventType::KeyCutOff).await;
    assert_eq!(cut.iter().map(|event| event.time - morning).collect::<Vec<_>>(), [3 * FIVE + 10 * SECOND]);
    let evidence = &cut[0].evidence;
    assert_eq!(evidence["interval_seconds"], 300);
    let held: Vec<_> = evidence["checks"].as_array().unwrap().iter().map(|c| &c["observed"]).collect();
    assert_eq!(held, [&json!("420"), &json!("410"), &json!("400")]);
    let summary =
        "Spent $420 on 2026-03-02, usually $100 a day; critical at 3 checks in a row, 5 minutes apart.";
    assert_eq!(evidence["summary"], summary);
}
