//! Times in buckets 0.4 % wide, so that half an hour of load takes no more memory than a second of it.

const STEPS: u32 = 8;

pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; (65 - STEPS as usize) << STEPS], count: 0, longest: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, nanoseconds: u64) {
        // The position of the highest bit, and the bits after it.
        let power = (nanoseconds | 1).ilog2().saturating_sub(STEPS);
        let at = ((u64::from(power) << STEPS) + (nanoseconds >> power)) as usize;
        self.buckets[at] += 1;
        self.count += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// In microseconds: the end of the bucket that the share `part` of all times does not exceed.
    pub fn percentile(&self, part: f64) -> f64 {
        let mut left = (self.count as f64 * part).ceil() as u64;
        for (at, &count) in self.buckets.iter().enumerate() {
            if left <= count {
                let power = (at >> STEPS).saturating_sub(1) as u64;
                let end = (at as u64 + 1 - (power << STEPS)) << power;
                return end.min(self.longest) as f64 / 1000.0;
            }
            left -= count;
        }
        0.0
    }

    /// As a part of a JSON object.
    pub fn json(&self) -> String {
        let [p50, p99, p999, longest] = [0.5, 0.99, 0.999, 1.0].map(|part| self.percentile(part));
        format!(
            r#""requests":{},"p50_us":{p50:.1},"p99_us":{p99:.1},"p999_us":{p999:.1},"max_us":{longest:.1}"#,
            self.count
        )
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
