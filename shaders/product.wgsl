// Products of halves by matrix units (tensor cores), sums in f32; twin of src/ops/product.rs.
//
// A workgroup takes a tile of the output, each of its four subgroups a quarter: 4 × 4 matrices of 16 × 16, or
// 2 × 2 of a small tile. A step of an operand along the inner axis is staged in workgroup memory in lines that
// lie as they do in the operand, a little apart, so that the units of a subgroup do not meet in a bank.

enable f16;
enable wgpu_cooperative_matrix;

// A plan, which src/ops/product/wgsl.rs puts in place of these lines:
alias Number = f16;
const TILE: u32 = 128u;
const STEP: u32 = 32u;
const LEFT_LIES_INNER: bool = true;
const RIGHT_LIES_INNER: bool = true;
// The end of the plan.

// Eight neighbours of an operand.
struct Chunk {
    low: vec4<f16>,
    high: vec4<f16>,
}

@group(0) @binding(0) var<storage, read_write> left: array<Chunk>;
@group(0) @binding(1) var<storage, read_write> right: array<Chunk>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<Number>>;
@group(0) @binding(3) var<storage, read> settings: Settings;

// Strides are in chunks.
struct Operand {
    // Rows or columns of the output.
    count: u32,
    outer: u32,
    inner: u32,
    batch: u32,
}

struct Settings {
    left: Operand,
    right: Operand,
    // Places summed over.
    inner: u32,
    unused: u32,
}

const UNITS: u32 = 128u;
const SUBGROUP: u32 = 32u;
// Subgroups side by side, and rows and columns of the tile that one takes.
const ACROSS: u32 = 2u;
const OWN: u32 = TILE / ACROSS;
// Numbers of a chunk.
const CHUNK: u32 = 8u;
// Rows and columns of a matrix, quads of it, and quads of a row of it.
const SIDE: u32 = 16u;
const MATRIX: u32 = 64u;
const MATRIX_ROW: u32 = 4u;

// Numbers from a line of a step to the next: lines are rows or columns of the tile where an operand lies along the
// inner axis, else places of the step.
const INNER_LINE: u32 = STEP + CHUNK;
const OUTER_LINE: u32 = TILE + CHUNK;
const LEFT_LINE: u32 = select(OUTER_LINE, INNER_LINE, LEFT_LIES_INNER);
const RIGHT_LINE: u32 = select(OUTER_LINE, INNER_LINE, RIGHT_LIES_INNER);
const LEFT_STEP: u32 = select(STEP, TILE, LEFT_LIES_INNER) * LEFT_LINE;
const RIGHT_STEP: u32 = select(STEP, TILE, RIGHT_LIES_INNER) * RIGHT_LINE;

// Steps, in pairs: a unit's part of a matrix is made of them, and loaded faster from them than from quads.
var<workgroup> left_step: array<vec2<f16>, LEFT_STEP / 2u>;
var<workgroup> right_step: array<vec2<f16>, RIGHT_STEP / 2u>;
// A matrix of sums of each subgroup.
var<workgroup> sums: array<vec4<f32>, UNITS / SUBGROUP * MATRIX>;

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

// A chunk of a step that a unit stages.
struct Share {
    // Where the operand has its line, of those that go through all steps.
    line: u32,
    // Its inner place in the first step.
    place: u32,
    // Where its first pair is in the step.
    slot: u32,
}

// The chunks of a step that a unit stages.
struct Staged {
    a: Chunk,
    b: Chunk,
    c: Chunk,
    d: Chunk,
}

fn share_of(operand: Operand, first: u32, batch: u32, own: u32, lies_inner: bool) -> Share {
    let base = batch * operand.batch;
    if (lies_inner) {
        let line = own / (STEP / CHUNK);
        let chunk = own % (STEP / CHUNK);
        // Lines past the last read it again: nothing that they add up to is written.
        let outer = min(first + line, operand.count - 1u);
        return Share(base + outer * operand.outer, chunk * CHUNK, (line * INNER_LINE + chunk * CHUNK) / 2u);
    }
    let line = own / (TILE / CHUNK);
    let chunk = own % (TILE / CHUNK);
    let outer = min(first / CHUNK + chunk, operand.count / CHUNK - 1u);
    return Share(base + outer, line, (line * OUTER_LINE + chunk * CHUNK) / 2u);
}

fn left_share(cube: vec3<u32>, own: u32) -> Share {
    return share_of(settings.left, cube.y * TILE, cube.z, own, LEFT_LIES_INNER);
}

fn right_share(cube: vec3<u32>, own: u32) -> Share {
    return share_of(settings.right, cube.x * TILE, cube.z, own, RIGHT_LIES_INNER);
}

// Where the operand has the chunk of the step that begins at an inner place. Past the last place it is the last
// one: a branch around a read would have the next one wait.
fn chunk_of(share: Share, stride: u32, start: u32, lies_inner: bool) -> u32 {
    let place = share.place + start;
    if (lies_inner) {
        return share.line + min(place, settings.inner - CHUNK) / CHUNK;
    }
    return share.line + min(place, settings.inner - 1u) * stride;
}

fn read_left(share: Share, start: u32) -> Chunk {
    return left[chunk_of(share, settings.left.inner, start, LEFT_LIES_INNER)];
}

fn read_right(share: Share, start: u32) -> Chunk {
    return right[chunk_of(share, settings.right.inner, start, RIGHT_LIES_INNER)];
}

// Puts a chunk in the step that begins at an inner place; zeros past the last place.
fn put_left(share: Share, start: u32, chunk: Chunk) {
    let is_inside = share.place + start < settings.inner;
    let low = select(vec4<f16>(), chunk.low, is_inside);
    let high = select(vec4<f16>(), chunk.high, is_inside);
    left_step[share.slot] = low.xy;
    left_step[share.slot + 1u] = low.zw;
    left_step[share.slot + 2u] = high.xy;
    left_step[share.slot + 3u] = high.zw;
}

fn put_right(share: Share, start: u32, chunk: Chunk) {
    let is_inside = share.place + start < settings.inner;
    let low = select(vec4<f16>(), chunk.low, is_inside);
    let high = select(vec4<f16>(), chunk.high, is_inside);
    right_step[share.slot] = low.xy;
    right_step[share.slot + 1u] = low.zw;
    right_step[share.slot + 2u] = high.xy;
    right_step[share.slot + 3u] = high.zw;
}

// The 16 rows from `row` of the tile by the 16 places from `place` of the step.
fn left_matrix(row: u32, place: u32) -> Left {
    if (LEFT_LIES_INNER) {
        return coopLoadT<Left>(&left_step[(row * LEFT_LINE + place) / 2u], LEFT_LINE / 2u);
    }
    return coopLoad<Left>(&left_step[(place * LEFT_LINE + row) / 2u], LEFT_LINE / 2u);
}

fn right_matrix(column: u32, place: u32) -> Right {
    if (RIGHT_LIES_INNER) {
        return coopLoad<Right>(&right_step[(column * RIGHT_LINE + place) / 2u], RIGHT_LINE / 2u);
    }
    return coopLoadT<Right>(&right_step[(place * RIGHT_LINE + column) / 2u], RIGHT_LINE / 2u);
}

alias Sums = ptr<function, Sum>;

// Adds the products of 16 places of the step to the sums of two matrices side by side, whose first row is `row` of
// the tile.
fn add_two(row: u32, place: u32, right_0: Right, right_1: Right, sum_0: Sums, sum_1: Sums) {
    let own = left_matrix(row, place);
    *sum_0 = coopMultiplyAdd(own, right_0, *sum_0);
    *sum_1 = coopMultiplyAdd(own, right_1, *sum_1);
}

// The same for four.
fn add_four(
    row: u32,
    place: u32,
    right_0: Right,
    right_1: Right,
    right_2: Right,
    right_3: Right,
    sum_0: Sums,
    sum_1: Sums,
    sum_2: Sums,
    sum_3: Sums,
) {
    let own = left_matrix(row, place);
    *sum_0 = coopMultiplyAdd(own, right_0, *sum_0);
    *sum_1 = coopMultiplyAdd(own, right_1, *sum_1);
    *sum_2 = coopMultiplyAdd(own, right_2, *sum_2);
    *sum_3 = coopMultiplyAdd(own, right_3, *sum_3);
}

// Writes each subgroup's matrix of sums; the first subgroup's lies at `row` and `column` of the output.
fn write(matrix: Sum, subgroup: u32, unit: u32, row: u32, column: u32, batch: u32) {
    workgroupBarrier();
    coopStoreT(matrix, &sums[subgroup * MATRIX], MATRIX_ROW);
    workgroupBarrier();
    let rows = settings.left.count;
    let columns = settings.right.count;
    // Two quads a unit.
    write_quad(unit, row, column, batch, rows, columns);
    write_quad(unit + UNITS, row, column, batch, rows, columns);
}

fn write_quad(place: u32, row: u32, column: u32, batch: u32, rows: u32, columns: u32) {
    let own = place / MATRIX;
    let inside = place % MATRIX;
    let own_row = row + own / ACROSS * OWN + inside / MATRIX_ROW;
    let own_column = column + own % ACROSS * OWN + inside % MATRIX_ROW * 4u;
    if (own_row < rows && own_column < columns) {
        output[((batch * rows + own_row) * columns + own_column) / 4u] = vec4<Number>(sums[place]);
    }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) cube: vec3<u32>, @builtin(local_invocation_index) unit: u32) {
    let subgroup = unit / SUBGROUP;
    let row = subgroup / ACROSS * OWN;
    let column = subgroup % ACROSS * OWN;

    let left_a = left_share(cube, unit);
    let left_b = left_share(cube, unit + UNITS);
    let left_c = left_share(cube, unit + 2u * UNITS);
    let left_d = left_share(cube, unit + 3u * UNITS);
    let right_a = right_share(cube, unit);
    let right_b = right_share(cube, unit + UNITS);
    let right_c = right_share(cube, unit + 2u * UNITS);
    let right_d = right_share(cube, unit + 3u * UNITS);

    // Of a small tile two rows of two.
    var sum00: Sum;
    var sum01: Sum;
    var sum02: Sum;
    var sum03: Sum;
    var sum10: Sum;
    var sum11: Sum;
    var sum12: Sum;
    var sum13: Sum;
    var sum20: Sum;
    var sum21: Sum;
    var sum22: Sum;
    var sum23: Sum;
    var sum30: Sum;
    var sum31: Sum;
    var sum32: Sum;
    var sum33: Sum;

    var of_left = Staged(
        read_left(left_a, 0u),
        read_left(left_b, 0u),
        read_left(left_c, 0u),
        read_left(left_d, 0u),
    );
    var of_right = Staged(
        read_right(right_a, 0u),
        read_right(right_b, 0u),
        read_right(right_c, 0u),
        read_right(right_d, 0u),
    );
    for (var start = 0u; start < settings.inner; start += STEP) {
        workgroupBarrier();
        put_left(left_a, start, of_left.a);
        put_left(left_b, start, of_left.b);
        put_left(left_c, start, of_left.c);
        put_left(left_d, start, of_left.d);
        put_right(right_a, start, of_right.a);
        put_right(right_b, start, of_right.b);
        put_right(right_c, start, of_right.c);
        put_right(right_d, start, of_right.d);
        workgroupBarrier();
        // After the last step it is read once more.
        let next = start + STEP;
        of_left.a = read_left(left_a, next);
        of_left.b = read_left(left_b, next);
        of_left.c = read_left(left_c, next);
        of_left.d = read_left(left_d, next);
        of_right.a = read_right(right_a, next);
        of_right.b = read_right(right_b, next);
        of_right.c = read_right(right_c, next);
        of_right.d = read_right(right_d, next);
        for (var place = 0u; place < STEP; place += SIDE) {
            let right_0 = right_matrix(column, place);
            let right_1 = right_matrix(column + SIDE, place);
            if (TILE == 128u) {
                let right_2 = right_matrix(column + 2u * SIDE, place);
                let right_3 = right_matrix(column + 3u * SIDE, place);
                add_four(row, place, right_0, right_1, right_2, right_3, &sum00, &sum01, &sum02, &sum03);
                add_four(row + SIDE, place, right_0, right_1, right_2, right_3, &sum10, &sum11, &sum12, &sum13);
                add_four(row + 2u * SIDE, place, right_0, right_1, right_2, right_3, &sum20, &sum21, &sum22, &sum23);
                add_four(row + 3u * SIDE, place, right_0, right_1, right_2, right_3, &sum30, &sum31, &sum32, &sum33);
            } else {
                add_two(row, place, right_0, right_1, &sum00, &sum01);
                add_two(row + SIDE, place, right_0, right_1, &sum10, &sum11);
            }
        }
    }

    let first_row = cube.y * TILE;
    let first_column = cube.x * TILE;
    write(sum00, subgroup, unit, first_row, first_column, cube.z);
    write(sum01, subgroup, unit, first_row, first_column + SIDE, cube.z);
    write(sum10, subgroup, unit, first_row + SIDE, first_column, cube.z);
    write(sum11, subgroup, unit, first_row + SIDE, first_column + SIDE, cube.z);
    if (TILE == 128u) {
        write(sum02, subgroup, unit, first_row, first_column + 2u * SIDE, cube.z);
        write(sum03, subgroup, unit, first_row, first_column + 3u * SIDE, cube.z);
        write(sum12, subgroup, unit, first_row + SIDE, first_column + 2u * SIDE, cube.z);
        write(sum13, subgroup, unit, first_row + SIDE, first_column + 3u * SIDE, cube.z);
        write(sum20, subgroup, unit, first_row + 2u * SIDE, first_column, cube.z);
        write(sum21, subgroup, unit, first_row + 2u * SIDE, first_column + SIDE, cube.z);
        write(sum22, subgroup, unit, first_row + 2u * SIDE, first_column + 2u * SIDE, cube.z);
        write(sum23, subgroup, unit, first_row + 2u * SIDE, first_column + 3u * SIDE, cube.z);
        write(sum30, subgroup, unit, first_row + 3u * SIDE, first_column, cube.z);
        write(sum31, subgroup, unit, first_row + 3u * SIDE, first_column + SIDE, cube.z);
        write(sum32, subgroup, unit, first_row + 3u * SIDE, first_column + 2u * SIDE, cube.z);
        write(sum33, subgroup, unit, first_row + 3u * SIDE, first_column + 3u * SIDE, cube.z);
    }
}
