// Draws one token a row; twin of src/ops/sample.rs, which holds the formulas.
//
// One workgroup a row. Thresholds of the filters are found bit by bit, so that nothing is sorted and
// nothing as long as a row is stored.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
// Low and high half of the row's seed, and its counter.
@group(0) @binding(1) var<storage, read_write> streams: array<u32>;
@group(0) @binding(2) var<storage, read_write> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> logprobs: array<f32>;
@group(0) @binding(4) var<storage, read> settings: Settings;

struct Settings {
    rows: u32,
    vocabulary: u32,
    // 0 takes the likeliest token.
    temperature: f32,
    // 0 keeps all.
    top_k: u32,
    // 1 - top_p.
    droppable: f32,
    min_p: f32,
}

// What the filters leave of a row.
struct Filters {
    // Where the row's logits begin.
    first: u32,
    highest: f32,
    // Keys of scores below this are dropped.
    least_key: u32,
    // Bits of weights below this are dropped,
    least_weight: u32,
    // and so are weights of these bits whose id is below this.
    least_id: u32,
}

struct Candidate {
    value: f32,
    id: u32,
}

const LANES: u32 = 256u;
const LOWEST: f32 = -3.4028234e38;
// Scores further than this below the highest weigh nothing: their exponentials would be denormal.
const FAINTEST: f32 = -87.0;
// Above the bits of the weight 1.
const WEIGHT_BITS: u32 = 30u;

var<workgroup> lane_floats: array<f32, LANES>;
var<workgroup> lane_counts: array<u32, LANES>;

// The sum of what the lanes hold, in the same order always.
fn sum_of_lanes(own: f32, lane: u32) -> f32 {
    workgroupBarrier();
    lane_floats[lane] = own;
    workgroupBarrier();
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lane_floats[lane] += lane_floats[lane + reach];
        }
        workgroupBarrier();
    }
    return lane_floats[0];
}

fn count_of_lanes(own: u32, lane: u32) -> u32 {
    workgroupBarrier();
    lane_counts[lane] = own;
    workgroupBarrier();
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lane_counts[lane] += lane_counts[lane + reach];
        }
        workgroupBarrier();
    }
    return lane_counts[0];
}

// The highest candidate of the lanes, of equal ones that with the lowest id.
fn best_of_lanes(own: Candidate, lane: u32) -> Candidate {
    workgroupBarrier();
    lane_floats[lane] = own.value;
    lane_counts[lane] = own.id;
    workgroupBarrier();
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            let other = Candidate(lane_floats[lane + reach], lane_counts[lane + reach]);
            if (is_better(other, Candidate(lane_floats[lane], lane_counts[lane]))) {
                lane_floats[lane] = other.value;
                lane_counts[lane] = other.id;
            }
        }
        workgroupBarrier();
    }
    return Candidate(lane_floats[0], lane_counts[0]);
}

fn is_better(a: Candidate, b: Candidate) -> bool {
    return a.value > b.value || (a.value == b.value && a.id < b.id);
}

fn is_greedy() -> bool {
    return settings.temperature == 0.0;
}

fn score(index: u32) -> f32 {
    let logit = logits[index];
    if (is_greedy()) {
        return logit;
    }
    return logit / settings.temperature;
}

// An integer that orders as the number does.
fn key_of(value: f32) -> u32 {
    let bits = select(bitcast<u32>(value), 0u, value == 0.0);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

// The weight of a token before top-p: 1 is the highest, 0 is dropped.
fn raw_weight(filters: Filters, id: u32) -> f32 {
    let own = score(filters.first + id);
    let below = own - filters.highest;
    if (below < FAINTEST || key_of(own) < filters.least_key) {
        return 0.0;
    }
    // Exactly 1 at 0, whatever the device's `exp` makes of it.
    return select(min(exp(below), 1.0), 1.0, below == 0.0);
}

fn weight(filters: Filters, id: u32) -> f32 {
    let raw = raw_weight(filters, id);
    let bits = bitcast<u32>(raw);
    let is_tied_out = bits == filters.least_weight && id < filters.least_id;
    if (bits < filters.least_weight || is_tied_out || raw < settings.min_p) {
        return 0.0;
    }
    return raw;
}

// The k-th highest score's key: the highest key that at least k scores reach.
fn top_k_key(filters: Filters, lane: u32) -> u32 {
    var key = 0u;
    for (var bit = 32u; bit > 0u; bit--) {
        let candidate = key | (1u << (bit - 1u));
        var reached = 0u;
        for (var id = lane; id < settings.vocabulary; id += LANES) {
            if (key_of(score(filters.first + id)) >= candidate) {
                reached++;
            }
        }
        if (count_of_lanes(reached, lane) >= settings.top_k) {
            key = candidate;
        }
    }
    return key;
}

// The sum of the weights whose bits are below `bits`.
fn weight_below(filters: Filters, bits: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var id = lane; id < settings.vocabulary; id += LANES) {
        let raw = raw_weight(filters, id);
        if (bitcast<u32>(raw) < bits) {
            sum += raw;
        }
    }
    return sum_of_lanes(sum, lane);
}

// How many tokens with an id below `end` have a weight of just these bits.
fn ties_before(filters: Filters, bits: u32, end: u32, lane: u32) -> u32 {
    var count = 0u;
    for (var id = lane; id < end; id += LANES) {
        if (bitcast<u32>(raw_weight(filters, id)) == bits) {
            count++;
        }
    }
    return count_of_lanes(count, lane);
}

// The filters with top-p: the least likely tokens go, of equal ones the first, while the sum of what
// went is at most `1 - top_p`; the last token stays.
fn with_top_p(before: Filters, lane: u32) -> Filters {
    var filters = before;
    let total = weight_below(filters, 0xffffffffu, lane);
    let droppable = settings.droppable * total;
    var least = 0u;
    for (var bit = WEIGHT_BITS; bit > 0u; bit--) {
        let candidate = least | (1u << (bit - 1u));
        let sum = weight_below(filters, candidate, lane);
        // The bits of 1 are the highest there are.
        if (sum <= droppable && candidate <= 0x3f800000u) {
            least = candidate;
        }
    }
    let ties = ties_before(filters, least, settings.vocabulary, lane);
    let rest = droppable - weight_below(filters, least, lane);
    let dropped = min(u32(max(rest, 0.0) / bitcast<f32>(least)), ties - 1u);
    var least_id = 0u;
    for (var bit = 32u - countLeadingZeros(settings.vocabulary); bit > 0u; bit--) {
        let candidate = least_id | (1u << (bit - 1u));
        let end = min(candidate, settings.vocabulary);
        if (ties_before(filters, least, end, lane) <= dropped) {
            least_id = candidate;
        }
    }
    filters.least_weight = least;
    filters.least_id = least_id;
    return filters;
}

// High word of a product.
fn multiply_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let left = (a >> 16u) * (b & 0xffffu);
    let right = (a & 0xffffu) * (b >> 16u);
    let carry = ((low >> 16u) + (left & 0xffffu) + (right & 0xffffu)) >> 16u;
    return (a >> 16u) * (b >> 16u) + (left >> 16u) + (right >> 16u) + carry;
}

// Philox4x32-10 (Salmon et al., SC 2011).
fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var words = counter;
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let high0 = multiply_high(0xd2511f53u, words.x);
        let low0 = 0xd2511f53u * words.x;
        let high1 = multiply_high(0xcd9e8d57u, words.z);
        let low1 = 0xcd9e8d57u * words.z;
        words = vec4<u32>(high1 ^ words.y ^ key.x, low1, high0 ^ words.w ^ key.y, low0);
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return words;
}

// An exponentially distributed number, `-log(1 - u)` for the `u` in (0, 1) that the word stands for.
fn exponential(word: u32) -> f32 {
    let unit = min((f32(word) + 0.5) * 2.3283064e-10, 0.99999994);
    if (unit < 0.25) {
        let t = unit / (2.0 - unit);
        let s = t * t;
        return 2.0 * t * (1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0 + s / 9.0))));
    }
    return -log(1.0 - unit);
}

// The token that wins the race: the likeliest one when greedy.
fn winner(filters: Filters, row: u32, lane: u32) -> Candidate {
    let seed = vec2<u32>(streams[3u * row], streams[3u * row + 1u]);
    let counter = streams[3u * row + 2u];
    var best = Candidate(LOWEST, 0xffffffffu);
    let blocks = (settings.vocabulary + 3u) / 4u;
    for (var block = lane; block < blocks; block += LANES) {
        let words = philox(vec4<u32>(block, counter, 0u, 0u), seed);
        for (var part = 0u; part < 4u; part++) {
            let id = 4u * block + part;
            if (id < settings.vocabulary) {
                var value = score(filters.first + id);
                if (!is_greedy()) {
                    value = weight(filters, id) / exponential(words[part]);
                }
                let candidate = Candidate(value, id);
                if (is_better(candidate, best)) {
                    best = candidate;
                }
            }
        }
    }
    return best_of_lanes(best, lane);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) place: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Workgroups beyond the last row repeat it, so that all lanes meet at every barrier.
    let row = min(place.y * workgroups.x + place.x, settings.rows - 1u);
    var filters = Filters(row * settings.vocabulary, 0.0, 0u, 0u, 0u);
    var highest = Candidate(LOWEST, 0xffffffffu);
    for (var id = lane; id < settings.vocabulary; id += LANES) {
        let candidate = Candidate(score(filters.first + id), id);
        if (is_better(candidate, highest)) {
            highest = candidate;
        }
    }
    filters.highest = best_of_lanes(highest, lane).value;
    if (settings.temperature > 0.0 && settings.top_k > 0u && settings.top_k < settings.vocabulary) {
        filters.least_key = top_k_key(filters, lane);
    }
    if (settings.temperature > 0.0 && settings.droppable > 0.0) {
        filters = with_top_p(filters, lane);
    }
    var own = 0.0;
    for (var id = lane; id < settings.vocabulary; id += LANES) {
        own += weight(filters, id);
    }
    let total = sum_of_lanes(own, lane);
    let drawn = winner(filters, row, lane);
    if (lane == 0u) {
        ids[row] = i32(drawn.id);
        logprobs[row] = score(filters.first + drawn.id) - filters.highest - log(total);
    }
}
