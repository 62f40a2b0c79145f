//! What every engine must do, on two nodes of each.

mod support;

use std::sync::Arc;

use broadgate_adapter::{Engine, MemoryBus, MemoryEngine, RedisConfig, RedisEngine, SubscriberId};
use support::{Recorder, event, eventually, join, numbered, redis_server::RedisServer};

struct Node {
    engine: Arc<dyn Engine>,
    recorder: Arc<Recorder>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smoke() {
    let server = RedisServer::start();
    let a = redis_node(&server, "uidA01", "aaa");
    let b = redis_node(&server, "uidB01", "bbb");
    for node in [&a, &b] {
        eventually("the links", || {
            node.engine.metrics().publish_link_up == 1 && node.engine.metrics().subscriptions_confirmed == 2
        })
        .await;
    }
    join(&*b.engine, &b.recorder, SubscriberId(3), "news").await;
    a.engine.publish(numbered(&["news"], 1)).await.expect("it is taken");
    eventually("delivery", || b.recorder.json() == ["[\"message\",1]"]).await;
    let start = std::time::Instant::now();
    for n in 0..100_000 {
        drop(a.engine.publish(numbered(&["news"], n)));
    }
    eventually("delivery", || b.recorder.count(|_| true) == 100_002).await;
    eprintln!("{:?}", start.elapsed());
    let _ = event;
    let _ = (MemoryBus::new(), MemoryEngine::start);
}

fn redis_node(server: &RedisServer, uid: &str, prefix: &str) -> Node {
    let recorder = Arc::new(Recorder::default());
    let engine =
        RedisEngine::start(RedisConfig::new(server.url(), uid, prefix), Arc::clone(&recorder) as _).unwrap();
    Node { engine, recorder }
}
