//! A quick look at what single operations cost.

use coeval::Cache;
use std::time::Instant;
fn main() {
    let c: Cache<u64, u64> = Cache::new();
    let n = 1 << 20;
    let t = Instant::now();
    for i in 0..n {
        c.insert(i, i);
    }
    println!("insert {:?}/op len {}", t.elapsed() / n as u32, c.len());
    let mut x = 1u64;
    let t = Instant::now();
    let mut s = 0;
    for _ in 0..n * 4 {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        s += c.get(&((x >> 33) % n)).unwrap();
    }
    println!("get {:?} {s}", t.elapsed() / (4 * n as u32));
    let p = c.pin();
    let t = Instant::now();
    for _ in 0..n * 4 {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        s += p.get(&((x >> 33) % n)).unwrap();
    }
    println!("held get {:?} {s}", t.elapsed() / (4 * n as u32));
    drop(p);
    let t = Instant::now();
    for i in 0..n {
        c.insert(i, i + 1);
    }
    println!("overwrite {:?}", t.elapsed() / n as u32);
    let t = Instant::now();
    for i in 0..n / 8 {
        let b = ((i * 7919) % 4096) * 8;
        let mut t = c.batch();
        for j in 0..8 {
            t = t.insert(b + j, i);
        }
        t.commit();
    }
    println!("batch8 {:?}", t.elapsed() / (n as u32 / 8));
    let t = Instant::now();
    for i in 0..n / 8 {
        let b = ((i * 7919) % 4096) * 8;
        let k: [u64; 8] = std::array::from_fn(|j| b + j as u64);
        let r = c.get_many(k.each_ref());
        s += r[0].unwrap();
        assert_eq!(r[0], r[7]);
    }
    println!("get_many8 {:?} {s}", t.elapsed() / (n as u32 / 8));
    let t = Instant::now();
    for i in 0..n * 4 {
        c.insert(n + i, i);
        c.remove(&(n + i));
    }
    println!("fresh ins+rem {:?}", t.elapsed() / (4 * n as u32));
    let v = c.view();
    let t = Instant::now();
    for i in 0..n * 2 {
        c.insert(i % 1000, i);
    }
    println!("overwrite under view {:?} view {:?}", t.elapsed() / (2 * n as u32), v.get(&5));
    drop(v);
    let t = Instant::now();
    c.invalidate_all();
    println!("invalidate_all {:?} len {}", t.elapsed(), c.len());
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"))
            .collect::<Vec<_>>()
            .join(" ")
    );
}
