// Group-relative advantages; twin of src/ops/group_advantage.rs, which holds the formula.
//
// One workgroup a group. A reward that is not a number is missing: it counts nowhere and its
// advantage is 0.

@group(0) @binding(0) var<storage, read_write> rewards: array<f32>;
@group(0) @binding(1) var<storage, read_write> advantages: array<f32>;
@group(0) @binding(2) var<storage, read> settings: Settings;

struct Settings {
    groups: u32,
    group_size: u32,
    scale: u32,
    unused: u32,
}

// Of rewards less the least of them, so that equal rewards come to 0 exactly.
struct Moments {
    least: f32,
    mean: f32,
    deviation: f32,
}

const LANES: u32 = 64u;
// What divides: values of `scale`.
const GROUP_STD: u32 = 0u;
const BATCH_STD: u32 = 1u;

const STD_FLOOR: f32 = 1e-4;
const HIGHEST: f32 = 3.4028234e38;

var<workgroup> lane_values: array<f32, LANES>;

// By bits: a compiler may take for granted that no number differs from itself.
fn is_missing(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u;
}

// The sum of what the lanes hold, in the same order always.
fn sum_of_lanes(own: f32, lane: u32) -> f32 {
    workgroupBarrier();
    lane_values[lane] = own;
    workgroupBarrier();
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lane_values[lane] += lane_values[lane + reach];
        }
        workgroupBarrier();
    }
    return lane_values[0];
}

fn least_of_lanes(own: f32, lane: u32) -> f32 {
    workgroupBarrier();
    lane_values[lane] = own;
    workgroupBarrier();
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lane_values[lane] = min(lane_values[lane], lane_values[lane + reach]);
        }
        workgroupBarrier();
    }
    return lane_values[0];
}

// Mean, and standard deviation with n - 1, of the rewards that are there.
fn moments(first: u32, last: u32, lane: u32) -> Moments {
    var count = 0.0;
    var lowest = HIGHEST;
    for (var index = first + lane; index < last; index += LANES) {
        let reward = rewards[index];
        if (!is_missing(reward)) {
            count += 1.0;
            lowest = min(lowest, reward);
        }
    }
    let present = sum_of_lanes(count, lane);
    let least = least_of_lanes(lowest, lane);
    var sum = 0.0;
    for (var index = first + lane; index < last; index += LANES) {
        let reward = rewards[index];
        if (!is_missing(reward)) {
            sum += reward - least;
        }
    }
    let mean = sum_of_lanes(sum, lane) / max(present, 1.0);
    var squares = 0.0;
    for (var index = first + lane; index < last; index += LANES) {
        let reward = rewards[index];
        if (!is_missing(reward)) {
            let centred = reward - least - mean;
            squares += centred * centred;
        }
    }
    let variance = sum_of_lanes(squares, lane) / max(present - 1.0, 1.0);
    return Moments(least, mean, sqrt(variance));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) place: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = place.y * workgroups.x + place.x;
    let group_count = settings.groups;
    let size = settings.group_size;
    // Workgroups beyond the last group have no rewards.
    let first = min(group, group_count) * size;
    let last = min(group + 1u, group_count) * size;
    let own = moments(first, last, lane);
    var divisor = 1.0;
    if (settings.scale == GROUP_STD) {
        divisor = own.deviation + STD_FLOOR;
    } else if (settings.scale == BATCH_STD) {
        divisor = moments(0u, group_count * size, lane).deviation + STD_FLOOR;
    }
    for (var index = first + lane; index < last; index += LANES) {
        let reward = rewards[index];
        var advantage = 0.0;
        if (!is_missing(reward)) {
            advantage = (reward - own.least - own.mean) / divisor;
        }
        advantages[index] = advantage;
    }
}
