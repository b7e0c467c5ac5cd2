//! The kernels. A cube takes the tile of a head: along x tiles, along y heads, along z rows of the batch.

use burn_cubecl::cubecl::{self, prelude::*};

use super::tiles::{
    COLUMNS, Plan, Sum, TILE, Tokens, add_scores, add_shares, own_column, own_rows, rounded,
    row_max, row_sum, stage, upper_row, zeros,
};

/// Heads in memory, in chunks from one to the next.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Places {
    pub row: usize,
    pub head: usize,
    pub token: usize,
}

#[cube]
impl Places {
    fn of(&self, row: usize, head: usize, count: usize) -> Tokens {
        Tokens {
            base: row * self.row + head * self.head,
            step: self.token,
            count,
        }
    }
}

/// What attends to what.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Heads {
    pub queries: Places,
    pub keys: Places,
    pub values: Places,
    /// Tokens of a head.
    pub query_count: usize,
    pub key_count: usize,
    /// Query heads of a row, and those of each key-value head.
    pub heads: usize,
    pub group: usize,
    /// From a row's start to the next's: 0 where all share one.
    pub start_step: usize,
    /// Factor on a score.
    pub scale: f32,
}

#[cube]
impl Heads {
    /// Keys before the first query.
    fn before(&self) -> usize {
        self.key_count - self.query_count
    }

    fn start(&self, starts: &[i32], row: usize) -> usize {
        usize::cast_from(starts[row * self.start_step])
    }

    /// The first number of a head's queries.
    fn line(&self, row: usize, head: usize) -> usize {
        (row * self.heads + head) * self.query_count
    }
}

/// For each of a unit's two rows the first and the last line that it has to do with.
#[derive(CubeType)]
struct Seen {
    first: Array<usize>,
    last: Array<usize>,
}

#[cube]
impl Seen {
    fn has(&self, line: usize, #[comptime] lower: usize) -> bool {
        line >= self.first[lower] && line <= self.last[lower]
    }
}

/// The keys that queries see.
#[cube]
fn keys_of_queries(heads: &Heads, start: usize, first: usize) -> Seen {
    let mut firsts = Array::<usize>::new(2usize);
    let mut lasts = Array::<usize>::new(2usize);
    #[unroll]
    for lower in 0..2usize {
        let own = heads.before() + first + upper_row() + comptime!(lower * COLUMNS);
        firsts[lower] = min(start, own);
        lasts[lower] = own;
    }
    Seen {
        first: firsts,
        last: lasts,
    }
}

/// The queries that see keys: those from its own on, and of padding that alone.
#[cube]
fn queries_of_keys(heads: &Heads, start: usize, first: usize) -> Seen {
    let mut firsts = Array::<usize>::new(2usize);
    let mut lasts = Array::<usize>::new(2usize);
    #[unroll]
    for lower in 0..2usize {
        let key = first + upper_row() + comptime!(lower * COLUMNS);
        let own = max(key, heads.before()) - heads.before();
        let has_none = key < start && key < heads.before();
        firsts[lower] = select(has_none, heads.query_count, own);
        lasts[lower] = select(key < start, own, heads.query_count - 1);
    }
    Seen {
        first: firsts,
        last: lasts,
    }
}

/// The numbers of a row of a block, in place of those before.
#[cube]
fn put(sum: &mut Sum, numbers: Vector<f32, Const<2>>, #[comptime] lower: usize) {
    sum[lower] = numbers;
}

/// Attends: the output `[B, T, H·D]` and the logarithms of normalisers `[B, H, T]`.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
pub(super) fn attend<X: Float, N: Size, P: Size>(
    queries: &[Vector<X, N>],
    keys: &[Vector<X, N>],
    values: &[Vector<X, N>],
    starts: &[i32],
    output: &mut [Vector<X, P>],
    normalizers: &mut [f32],
    heads: &Heads,
    #[comptime] plan: Plan,
    #[define(X)] _type: ElemType,
) {
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    // The last tiles see most keys: they begin first.
    let first = (heads.query_count.div_ceil(TILE) - 1 - CUBE_POS_X as usize) * TILE;
    let mut query_tile = Shared::<[Vector<X, N>]>::new_slice(comptime!(TILE * plan.chunks()));
    let lines = comptime!(plan.passing());
    let passing = comptime!(plan.passing() * plan.chunks());
    let mut key_tile = Shared::<[Vector<X, N>]>::new_slice(passing);
    let mut value_tile = Shared::<[Vector<X, N>]>::new_slice(passing);
    let of_queries = heads.queries.of(row, head, heads.query_count);
    stage::<X, N>(queries, &mut query_tile, &of_queries, first, TILE, plan);
    sync_cube();
    let rows = own_rows::<X, N>(&query_tile, plan);
    let key_head = head / heads.group;
    let of_keys = heads.keys.of(row, key_head, heads.key_count);
    let of_values = heads.values.of(row, key_head, heads.key_count);
    let start = heads.start(starts, row);
    let seen = keys_of_queries(heads, start, first);
    let mut highest = Array::<f32>::new(2usize);
    let mut totals = Array::<f32>::new(2usize);
    #[unroll]
    for lower in 0..2usize {
        highest[lower] = f32::min_value();
        totals[lower] = 0.0f32;
    }
    let mut sums = zeros(comptime!(plan.head_blocks()));
    let begin = min(start, heads.before() + first) / lines;
    let end = heads.before() + min(first + TILE, heads.query_count);
    for tile in begin..end.div_ceil(lines) {
        let first_key = tile * lines;
        sync_cube();
        stage::<X, N>(keys, &mut key_tile, &of_keys, first_key, lines, plan);
        stage::<X, N>(values, &mut value_tile, &of_values, first_key, lines, plan);
        sync_cube();
        let mut weights = zeros(comptime!(plan.score_blocks()));
        add_scores::<X, N>(&rows, &key_tile, &mut weights, plan);
        let column = first_key + own_column();
        #[unroll]
        for lower in 0..2usize {
            let mut most = highest[lower];
            #[unroll]
            for block in 0..comptime!(plan.score_blocks()) {
                let scores = weights.index(block)[lower];
                #[unroll]
                for one in 0..2usize {
                    let has = seen.has(column + comptime!(block * COLUMNS + one), lower);
                    most = max(most, select(has, scores.extract(one), most));
                }
            }
            let most = row_max(most);
            let decay = ((highest[lower] - most) * heads.scale).exp();
            highest[lower] = most;
            let mut total = totals[lower] * decay;
            #[unroll]
            for block in 0..comptime!(plan.score_blocks()) {
                let scores = weights.index(block)[lower];
                let centred = (scores - Vector::new(most)) * Vector::new(heads.scale);
                let mut powers = centred.exp();
                #[unroll]
                for one in 0..2usize {
                    let has = seen.has(column + comptime!(block * COLUMNS + one), lower);
                    let power = select(has, powers.extract(one), 0.0);
                    powers.insert(one, power);
                    total += power;
                }
                put(weights.index_mut(block), powers, lower);
            }
            totals[lower] = total;
            #[unroll]
            for block in 0..comptime!(plan.head_blocks()) {
                let sum = sums.index(block)[lower] * Vector::new(decay);
                put(sums.index_mut(block), sum, lower);
            }
        }
        let weights = rounded::<X>(&weights, plan);
        add_shares::<X, N>(&weights, &value_tile, &mut sums, plan);
    }
    #[unroll]
    for lower in 0..2usize {
        let total = row_sum(totals[lower]);
        let query = first + upper_row() + comptime!(lower * COLUMNS);
        if query < heads.query_count {
            if own_column() == 0 {
                let normalizer = highest[lower] * heads.scale + total.ln();
                normalizers[heads.line(row, head) + query] = normalizer;
            }
            let token = (row * heads.query_count + query) * heads.heads + head;
            write::<X, P>(output, &sums, token, 1.0 / total, lower, plan);
        }
    }
}

/// Writes a row of sums, multiplied by `factor`, where the head of a token stands among all in memory.
#[cube]
fn write<X: Float, P: Size>(
    output: &mut [Vector<X, P>],
    sums: &Sequence<Sum>,
    token: usize,
    factor: f32,
    #[comptime] lower: usize,
    #[comptime] plan: Plan,
) {
    let first = (token * comptime!(plan.width) + own_column()) / 2;
    #[unroll]
    for block in 0..comptime!(plan.head_blocks()) {
        let numbers = sums.index(block)[lower] * Vector::new(factor);
        output[first + comptime!(block * COLUMNS / 2)] = Vector::cast_from(numbers);
    }
}

/// `rowsum(G ⊙ O)` of each head of each token, `[B, H, T]`; outputs lie side by side.
#[cube(launch_unchecked)]
pub(super) fn pulls<X: Float, N: Size>(
    output: &[Vector<X, N>],
    gradient: &[Vector<X, N>],
    pulls: &mut [f32],
    heads: usize,
    tokens: usize,
    count: usize,
    #[comptime] plan: Plan,
    #[define(X)] _type: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place >= count {
        terminate!();
    }
    let mut sum = Vector::<f32, N>::new(0.0);
    let first = place * comptime!(plan.chunks());
    #[unroll]
    for chunk in 0..comptime!(plan.chunks()) {
        let output = Vector::<f32, N>::cast_from(output[first + chunk]);
        sum += output * Vector::cast_from(gradient[first + chunk]);
    }
    let (token, head) = (place / heads, place % heads);
    pulls[(token / tokens * heads + head) * tokens + token % tokens] = Vector::vector_sum(sum);
}

/// Gradients of queries, `[B, T, H, D]`.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
pub(super) fn gradients_of_queries<X: Float, N: Size, P: Size>(
    queries: &[Vector<X, N>],
    keys: &[Vector<X, N>],
    values: &[Vector<X, N>],
    gradient: &[Vector<X, N>],
    starts: &[i32],
    normalizers: &[f32],
    pulls: &[f32],
    output: &mut [Vector<X, P>],
    heads: &Heads,
    of_gradient: &Places,
    #[comptime] plan: Plan,
    #[define(X)] _type: ElemType,
) {
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let first = (heads.query_count.div_ceil(TILE) - 1 - CUBE_POS_X as usize) * TILE;
    let mut query_tile = Shared::<[Vector<X, N>]>::new_slice(comptime!(TILE * plan.chunks()));
    let lines = comptime!(plan.passing());
    let passing = comptime!(plan.passing() * plan.chunks());
    let mut key_tile = Shared::<[Vector<X, N>]>::new_slice(passing);
    let mut value_tile = Shared::<[Vector<X, N>]>::new_slice(passing);
    let of_queries = heads.queries.of(row, head, heads.query_count);
    stage::<X, N>(queries, &mut query_tile, &of_queries, first, TILE, plan);
    sync_cube();
    let rows = own_rows::<X, N>(&query_tile, plan);
    sync_cube();
    let of_gradient = of_gradient.of(row, head, heads.query_count);
    stage::<X, N>(gradient, &mut query_tile, &of_gradient, first, TILE, plan);
    sync_cube();
    let gradient_rows = own_rows::<X, N>(&query_tile, plan);
    let key_head = head / heads.group;
    let of_keys = heads.keys.of(row, key_head, heads.key_count);
    let of_values = heads.values.of(row, key_head, heads.key_count);
    let start = heads.start(starts, row);
    let seen = keys_of_queries(heads, start, first);
    let mut own_normalizers = Array::<f32>::new(2usize);
    let mut own_pulls = Array::<f32>::new(2usize);
    #[unroll]
    for lower in 0..2usize {
        let query = first + upper_row() + comptime!(lower * COLUMNS);
        let place = heads.line(row, head) + min(query, heads.query_count - 1);
        own_normalizers[lower] = normalizers[place];
        own_pulls[lower] = pulls[place];
    }
    let mut sums = zeros(comptime!(plan.head_blocks()));
    let begin = min(start, heads.before() + first) / lines;
    let end = heads.before() + min(first + TILE, heads.query_count);
    for tile in begin..end.div_ceil(lines) {
        let first_key = tile * lines;
        sync_cube();
        stage::<X, N>(keys, &mut key_tile, &of_keys, first_key, lines, plan);
        stage::<X, N>(values, &mut value_tile, &of_values, first_key, lines, plan);
        sync_cube();
        let mut weights = zeros(comptime!(plan.score_blocks()));
        add_scores::<X, N>(&rows, &key_tile, &mut weights, plan);
        let mut slopes = zeros(comptime!(plan.score_blocks()));
        add_scores::<X, N>(&gradient_rows, &value_tile, &mut slopes, plan);
        let column = first_key + own_column();
        #[unroll]
        for block in 0..comptime!(plan.score_blocks()) {
            #[unroll]
            for lower in 0..2usize {
                let scores = weights.index(block)[lower] * Vector::new(heads.scale);
                let powers = (scores - Vector::new(own_normalizers[lower])).exp();
                let pulled = slopes.index(block)[lower] - Vector::new(own_pulls[lower]);
                let mut slope = powers * pulled * Vector::new(heads.scale);
                #[unroll]
                for one in 0..2usize {
                    let has = seen.has(column + comptime!(block * COLUMNS + one), lower);
                    slope.insert(one, select(has, slope.extract(one), 0.0));
                }
                put(slopes.index_mut(block), slope, lower);
            }
        }
        let slopes = rounded::<X>(&slopes, plan);
        add_shares::<X, N>(&slopes, &key_tile, &mut sums, plan);
    }
    #[unroll]
    for lower in 0..2usize {
        let query = first + upper_row() + comptime!(lower * COLUMNS);
        if query < heads.query_count {
            let token = (row * heads.query_count + query) * heads.heads + head;
            write::<X, P>(output, &sums, token, 1.0, lower, plan);
        }
    }
}

/// Gradients of keys and values, both `[B, L, K, D]`. Heads of the grid are those of keys.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
pub(super) fn gradients_of_keys<X: Float, N: Size, P: Size>(
    queries: &[Vector<X, N>],
    keys: &[Vector<X, N>],
    values: &[Vector<X, N>],
    gradient: &[Vector<X, N>],
    starts: &[i32],
    normalizers: &[f32],
    pulls: &[f32],
    for_keys: &mut [Vector<X, P>],
    for_values: &mut [Vector<X, P>],
    heads: &Heads,
    of_gradient: &Places,
    #[comptime] plan: Plan,
    #[define(X)] _type: ElemType,
) {
    let (row, key_head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let first = CUBE_POS_X as usize * TILE;
    let mut key_tile = Shared::<[Vector<X, N>]>::new_slice(comptime!(TILE * plan.chunks()));
    let mut value_tile = Shared::<[Vector<X, N>]>::new_slice(comptime!(TILE * plan.chunks()));
    let lines = comptime!(plan.passing());
    let passing = comptime!(plan.passing() * plan.chunks());
    let mut query_tile = Shared::<[Vector<X, N>]>::new_slice(passing);
    let mut gradient_tile = Shared::<[Vector<X, N>]>::new_slice(passing);
    let mut own_normalizers = Shared::<[f32]>::new_slice(lines);
    let mut own_pulls = Shared::<[f32]>::new_slice(lines);
    let of_keys = heads.keys.of(row, key_head, heads.key_count);
    let of_values = heads.values.of(row, key_head, heads.key_count);
    stage::<X, N>(keys, &mut key_tile, &of_keys, first, TILE, plan);
    stage::<X, N>(values, &mut value_tile, &of_values, first, TILE, plan);
    let seen = queries_of_keys(heads, heads.start(starts, row), first);
    let mut key_sums = zeros(comptime!(plan.head_blocks()));
    let mut value_sums = zeros(comptime!(plan.head_blocks()));
    let begin = (max(first, heads.before()) - heads.before()) / lines;
    let end = heads.query_count.div_ceil(lines);
    for step in 0..heads.group * (end - begin) {
        let head = key_head * heads.group + step / (end - begin);
        let first_query = (begin + step % (end - begin)) * lines;
        let of_queries = heads.queries.of(row, head, heads.query_count);
        let of_gradient = of_gradient.of(row, head, heads.query_count);
        sync_cube();
        stage::<X, N>(
            queries,
            &mut query_tile,
            &of_queries,
            first_query,
            lines,
            plan,
        );
        stage::<X, N>(
            gradient,
            &mut gradient_tile,
            &of_gradient,
            first_query,
            lines,
            plan,
        );
        if (UNIT_POS as usize) < lines {
            let query = min(first_query + UNIT_POS as usize, heads.query_count - 1);
            let place = heads.line(row, head) + query;
            own_normalizers[UNIT_POS as usize] = normalizers[place];
            own_pulls[UNIT_POS as usize] = pulls[place];
        }
        sync_cube();
        let rows = own_rows::<X, N>(&key_tile, plan);
        let mut weights = zeros(comptime!(plan.score_blocks()));
        add_scores::<X, N>(&rows, &query_tile, &mut weights, plan);
        let rows = own_rows::<X, N>(&value_tile, plan);
        let mut slopes = zeros(comptime!(plan.score_blocks()));
        add_scores::<X, N>(&rows, &gradient_tile, &mut slopes, plan);
        #[unroll]
        for block in 0..comptime!(plan.score_blocks()) {
            #[unroll]
            for lower in 0..2usize {
                let mut powers = weights.index(block)[lower] * Vector::new(heads.scale);
                let mut slope = slopes.index(block)[lower];
                #[unroll]
                for one in 0..2usize {
                    let line = own_column() + comptime!(block * COLUMNS + one);
                    let has = seen.has(first_query + line, lower);
                    let power = (powers.extract(one) - own_normalizers[line]).exp();
                    let power = select(has, power, 0.0);
                    let pulled = slope.extract(one) - own_pulls[line];
                    powers.insert(one, power);
                    slope.insert(one, power * pulled * heads.scale);
                }
                put(weights.index_mut(block), powers, lower);
                put(slopes.index_mut(block), slope, lower);
            }
        }
        let weights = rounded::<X>(&weights, plan);
        add_shares::<X, N>(&weights, &gradient_tile, &mut value_sums, plan);
        let slopes = rounded::<X>(&slopes, plan);
        add_shares::<X, N>(&slopes, &query_tile, &mut key_sums, plan);
    }
    #[unroll]
    for lower in 0..2usize {
        let key = first + upper_row() + comptime!(lower * COLUMNS);
        if key < heads.key_count {
            let token = (row * heads.key_count + key) * (heads.heads / heads.group) + key_head;
            write::<X, P>(for_keys, &key_sums, token, 1.0, lower, plan);
            write::<X, P>(for_values, &value_sums, token, 1.0, lower, plan);
        }
    }
}
