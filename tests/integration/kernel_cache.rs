//! Where a GPU's tuned kernels are kept: in one folder, for all processes, and never in the working
//! directory.
//!
//! A process keeps its kernels in one place, so each case is this program again, running the one
//! test that works on the GPU.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use burn::tensor::Tensor;
use emberl::device::{self, DeviceSpec};
use emberl::ops;

use crate::oracle::gpu::wgpu;

/// Set in a process that is to work on the GPU.
const WORKER: &str = "EMBERL_TEST_WORKER";

#[test]
fn processes_share_the_kernels_that_one_has_tuned() {
    let Some((_turn, _device)) = wgpu() else {
        return;
    };
    let (cache, place) = (tempfile::tempdir(), tempfile::tempdir());
    let (cache, place) = (cache.expect("a folder"), place.expect("a folder"));
    let together = [(); 2].map(|()| start(cache.path(), place.path()));
    for (before, after) in together.map(finish) {
        assert!(after > before, "{before} kernels before, {after} after");
    }
    let (before, after) = finish(start(cache.path(), place.path()));
    assert!(before > 0, "nothing was kept");
    assert_eq!(before, after, "something was tuned twice");
    assert_eq!(entries(place.path()), 0, "the working directory has files");
}

#[test]
fn a_cache_that_cannot_be_written_costs_nothing_but_tuning() {
    let Some((_turn, _device)) = wgpu() else {
        return;
    };
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let (before, after) = finish(start(&file.join("cache"), place.path()));
    assert_eq!((before, after), (0, 0), "kernels were kept somewhere");
    assert_eq!(
        entries(place.path()),
        1,
        "files beside the one that was there"
    );
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the test that started this process reads it"
)]
fn worker() {
    if std::env::var_os(WORKER).is_none() {
        return;
    }
    let device = device::open(&DeviceSpec::Wgpu(0)).expect("an adapter");
    let before = device::kept_kernels();
    let sums = Tensor::<2>::ones([7, 33], &device).sum_dim(1);
    assert_eq!(ops::read_floats(sums).expect("the device works"), [33.0; 7]);
    // More than one line of the test runner begins with its own words.
    println!("\nkernels: {before} {}", device::kept_kernels());
}

fn start(cache: &Path, place: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "kernel_cache::worker", "--nocapture"])
        .env(WORKER, "1")
        .env("EMBERL_CACHE", cache)
        .env("CUBECL_AUTOTUNE_LEVEL", "minimal")
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Kept kernels before and after the work.
fn finish(child: Child) -> (u64, u64) {
    let output = child.wait_with_output().expect("the program ends");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{complaint}");
    let counts = text.lines().find_map(|line| line.strip_prefix("kernels: "));
    let counts = counts.unwrap_or_else(|| panic!("no counts: {text}{complaint}"));
    let (before, after) = counts.split_once(' ').expect("two counts");
    let number = |text: &str| text.parse().expect("a number");
    (number(before), number(after))
}

fn entries(folder: &Path) -> usize {
    folder.read_dir().expect("a folder").count()
}
