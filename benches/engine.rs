//! What the engine costs per record, store in memory: the quiet path, a batch, reading a record, and pricing it.
#![allow(clippy::expect_used, missing_docs, reason = "a bench stops at the first surprise")]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keyward::{
    config::{Config, DEFAULT_TOML},
    domain::{price::Tokens, record::Record},
    engine::{Engine, EngineOptions, LEASE},
    geo::Geo,
    intake::{Intake, Peppers, parse},
    pricing::Prices,
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};

const START: i64 = 1_772_442_000_000;

fn intake() -> Intake {
    let prices = Arc::new(Prices::open(None).expect("the built-in prices"));
    Intake::live(Peppers::parse("0123456789abcdef0123").expect("a pepper"), prices, i64::MAX / 4)
}

fn body(n: usize) -> String {
    format!(
        concat!(
            r#"{{"api_key":"sk-bench-{}","endpoint":"/v1/chat/completions","model":"gpt-4.1","prompt_tokens":{},"#,
            r#""completion_tokens":120,"source_ip":"203.0.113.{}","user_agent":"openai-python/1.51.0","#,
            r#""latency_ms":840.5}}"#,
        ),
        n % 1000,
        500 + n % 700,
        n % 14 + 1,
    )
}

fn records() -> Vec<Record> {
    let intake = intake();
    (0..10_000)
        .map(|n| intake.record(parse(body(n).as_bytes()).expect("JSON"), START).expect("a record"))
        .collect()
}

fn engine(runtime: &tokio::runtime::Runtime) -> Arc<Engine> {
    let mut config: Config = toml::from_str(DEFAULT_TOML).expect("the defaults");
    config.policy.limits.tokens.clear();
    let options = EngineOptions {
        deadline: Duration::from_secs(10),
        idempotency_capacity: 1000,
        retry_span: keyward::domain::record::RETRY_SPAN,
        shares_store: false,
        profile_capacity: 100_000,
        new_subjects_per_minute: u32::MAX,
        new_subjects_per_minute_per_address: u32::MAX,
        fold_seconds: 60,
        event_buffer: 1000,
        flushes: false,
        usage_series: 10_000,
        usage_by_user: false,
        lease: LEASE,
        directory: None,
    };
    let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).expect("a store"));
    let geo = Arc::new(Geo::open(&[], true).expect("the demo database"));
    runtime.block_on(Engine::start(store, geo, config.policy, options)).expect("an engine")
}

fn quiet_path(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let engine = engine(&runtime);
    let records = records();
    let mut now = START;
    let mut next = records.iter().cycle();
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    group.bench_function("record", |b| {
        b.iter(|| {
            now += 20;
            let record = next.next().expect("cycles");
            black_box(runtime.block_on(engine.record(std::slice::from_ref(record), now)))
        });
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("batch_of_1000", |b| {
        b.iter(|| {
            now += 20_000;
            black_box(runtime.block_on(engine.record(&records[..1000], now)))
        });
    });
    group.finish();
}

fn reading(c: &mut Criterion) {
    let intake = intake();
    let text = body(7);
    let mut group = c.benchmark_group("intake");
    group.throughput(Throughput::Elements(1));
    group.bench_function("read_and_hash", |b| {
        b.iter(|| intake.record(parse(text.as_bytes()).expect("JSON"), START).expect("a record"));
    });
    group.finish();
}

fn pricing(c: &mut Criterion) {
    let prices = Prices::open(None).expect("the built-in prices");
    let used = Tokens { input: 812, output: 120, ..Tokens::default() }.into();
    let mut group = c.benchmark_group("pricing");
    group.throughput(Throughput::Elements(1));
    for (name, model) in
        [("by_name", "gpt-4.1"), ("by_pattern", "gpt-4.1-2025-04-14"), ("by_fallback", "no-such-model")]
    {
        group.bench_function(name, |b| b.iter(|| black_box(prices.cost(black_box(model), START, &used))));
    }
    group.finish();
}

criterion_group!(benches, quiet_path, reading, pricing);
criterion_main!(benches);
