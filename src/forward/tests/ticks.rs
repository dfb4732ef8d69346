//! What a sink shows of what it does by time.

use std::time::Duration;

use super::*;
use crate::{clock, forward::Problem};

/// What a tick comes to: what it says, and what is wrong after it.
type Tick = (Result<bool, &'static str>, Option<&'static str>);

/// A sink that does at a tick as it is told.
struct Ticking {
    next: Arc<Mutex<Tick>>,
    trouble: Option<Problem>,
}

impl Sink for Ticking {
    fn send<'a>(&'a mut self, _events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async { Ok(SendReport::default()) })
    }

    fn tick(&mut self, _now: Millis) -> BoxFuture<'_, Result<bool, SendError>> {
        let (said, trouble) = *self.next.lock();
        self.trouble = trouble.map(Problem::new);
        Box::pin(async move { said.map_err(SendError::unreachable) })
    }

    fn trouble(&self) -> Option<&Problem> {
        self.trouble.as_ref()
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_by_time_is_shown_until_it_is_over_and_no_longer() {
    let house = House::new();
    let next = Arc::new(Mutex::<Tick>::new((Ok(false), None)));
    let sink = Box::new(Ticking { next: next.clone(), trouble: None });
    let sending = house.send_by("a", SINK, sink, Arc::default());
    let gone = || "connection refused";
    for (tick, shown) in [
        // Like syslog, which only says that nothing is wrong.
        ((Err(gone()), None), Some("connection refused")),
        ((Ok(false), None), None),
        // Like notices: they wait, and are sent.
        ((Err(gone()), Some("connection refused")), Some("connection refused")),
        ((Ok(false), Some("connection refused")), Some("connection refused")),
        ((Ok(true), None), None),
        // One is refused and given up; another one is taken.
        ((Ok(true), Some("refused")), Some("refused")),
        ((Ok(false), Some("refused")), Some("refused")),
        ((Ok(true), None), None),
    ] {
        *next.lock() = tick;
        clock::sleep(Duration::from_secs(3)).await;
        let status = sending.status.show(START);
        assert_eq!(status.error.as_deref(), shown, "{:?}", next.lock());
    }
    sending.finish().await;
}
