//! How much memory this process has taken, and how much the machine has left.

use std::fs;

/// The largest resident set so far, in bytes; none where the system does not say (Linux does).
pub fn peak_resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    kilobytes(line)
}

/// What the machine can still give out without swapping, in bytes; none where the system does not
/// say (Linux does).
pub fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kilobytes(line)
}

fn kilobytes(text: &str) -> Option<u64> {
    let count: u64 = text.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(count * 1024)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_peak_grows_with_what_is_touched() {
        let before = peak_resident_bytes().unwrap();
        let touched = vec![1_u8; 64 << 20];
        let after = peak_resident_bytes().unwrap();
        assert!(touched.iter().map(|b| usize::from(*b)).sum::<usize>() == 64 << 20);
        assert!(after >= before.max(64 << 20));
    }
}
