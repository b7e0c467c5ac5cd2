// Products of halves by matrix units (tensor cores), sums in f32; twin of src/ops/product.rs.
//
// A workgroup takes a tile of the output, each of its eight subgroups a quarter of its columns of half its
// rows: 4 × 2 matrices of 16 × 16, or 2 × 1 of a small tile. A step of an operand along the inner axis is
// staged in workgroup memory in lines that lie as they do in the operand, a little apart, so that the units of
// a subgroup do not meet in a bank.

enable f16;
enable wgpu_cooperative_matrix;

// A plan, which src/ops/product/wgsl.rs puts in place of these lines:
alias Number = f16;
const TILE: u32 = 128u;
const STEP: u32 = 32u;
const LEFT_LIES_INNER: bool = true;
const RIGHT_LIES_INNER: bool = true;
// The end of the plan.

@group(0) @binding(0) var<storage, read_write> left: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read_write> right: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<Number>>;
@group(0) @binding(3) var<storage, read> settings: Settings;

// Strides are in quads of numbers.
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

const UNITS: u32 = 256u;
const SUBGROUP: u32 = 32u;
// Rows and columns of the tile that a subgroup takes, and subgroups side by side.
const OWN_ROWS: u32 = TILE / 2u;
const OWN_COLUMNS: u32 = TILE / 4u;
const ACROSS: u32 = 4u;
// Rows and columns of a matrix, quads of it, and quads of a row of it.
const SIDE: u32 = 16u;
const MATRIX: u32 = 64u;
const MATRIX_ROW: u32 = 4u;

// Pairs from a line of a step to the next, and of a step: lines are rows or columns of the tile where operands
// lie along the inner axis, else places of the step.
const LEFT_LINE: u32 = select(TILE, STEP, LEFT_LIES_INNER) / 2u + 4u;
const RIGHT_LINE: u32 = select(TILE, STEP, RIGHT_LIES_INNER) / 2u + 4u;
const LEFT_STEP: u32 = select(STEP, TILE, LEFT_LIES_INNER) * LEFT_LINE;
const RIGHT_STEP: u32 = select(STEP, TILE, RIGHT_LIES_INNER) * RIGHT_LINE;

// Pairs are what a unit's part of a matrix is made of: it is loaded faster from them than from quads.
var<workgroup> left_step: array<vec2<f16>, LEFT_STEP>;
var<workgroup> right_step: array<vec2<f16>, RIGHT_STEP>;
// A matrix of sums of each subgroup.
var<workgroup> sums: array<vec4<f32>, UNITS / SUBGROUP * MATRIX>;

// A quad of a step that a unit stages.
struct Share {
    // Where the operand has its line, of those that go through all steps.
    line: u32,
    // Its inner place in the first step.
    place: u32,
    // Where its first pair is in the step.
    slot: u32,
}

// The quads of a step that a unit stages.
struct Staged {
    a: vec4<f16>,
    b: vec4<f16>,
    c: vec4<f16>,
    d: vec4<f16>,
}

fn share_of(operand: Operand, first: u32, batch: u32, own: u32, lies_inner: bool) -> Share {
    let base = batch * operand.batch;
    if (lies_inner) {
        let line = own / (STEP / 4u);
        let place = own % (STEP / 4u) * 4u;
        // Lines past the last read it again: nothing that they add up to is written.
        let outer = min(first + line, operand.count - 1u);
        return Share(base + outer * operand.outer, place, line * (STEP / 2u + 4u) + place / 2u);
    }
    let line = own / (TILE / 4u);
    let quad = own % (TILE / 4u);
    let outer = min(first / 4u + quad, operand.count / 4u - 1u);
    return Share(base + outer, line, line * (TILE / 2u + 4u) + quad * 2u);
}

fn left_share(cube: vec3<u32>, own: u32) -> Share {
    return share_of(settings.left, cube.y * TILE, cube.z, own, LEFT_LIES_INNER);
}

fn right_share(cube: vec3<u32>, own: u32) -> Share {
    return share_of(settings.right, cube.x * TILE, cube.z, own, RIGHT_LIES_INNER);
}

// Where the operand has the quad of the step that begins at an inner place. Past the last place it is the last
// one: a branch around a read would have the next one wait.
fn quad_of(share: Share, stride: u32, start: u32, lies_inner: bool) -> u32 {
    let place = share.place + start;
    if (lies_inner) {
        return share.line + min(place, settings.inner - 4u) / 4u;
    }
    return share.line + min(place, settings.inner - 1u) * stride;
}

fn read_left(share: Share, start: u32) -> vec4<f16> {
    return left[quad_of(share, settings.left.inner, start, LEFT_LIES_INNER)];
}

fn read_right(share: Share, start: u32) -> vec4<f16> {
    return right[quad_of(share, settings.right.inner, start, RIGHT_LIES_INNER)];
}

// Puts a quad in the step that begins at an inner place; zeros past the last place.
fn put_left(share: Share, start: u32, quad: vec4<f16>) {
    let inside = select(vec4<f16>(), quad, share.place + start < settings.inner);
    left_step[share.slot] = inside.xy;
    left_step[share.slot + 1u] = inside.zw;
}

fn put_right(share: Share, start: u32, quad: vec4<f16>) {
    let inside = select(vec4<f16>(), quad, share.place + start < settings.inner);
    right_step[share.slot] = inside.xy;
    right_step[share.slot + 1u] = inside.zw;
}

// The 16 rows from `row` of the tile by the 16 places from `place` of the step.
fn left_matrix(row: u32, place: u32) -> coop_mat16x16<f16, A> {
    if (LEFT_LIES_INNER) {
        return coopLoadT<coop_mat16x16<f16, A>>(&left_step[row * LEFT_LINE + place / 2u], LEFT_LINE);
    }
    return coopLoad<coop_mat16x16<f16, A>>(&left_step[place * LEFT_LINE + row / 2u], LEFT_LINE);
}

fn right_matrix(column: u32, place: u32) -> coop_mat16x16<f16, B> {
    if (RIGHT_LIES_INNER) {
        return coopLoad<coop_mat16x16<f16, B>>(&right_step[column * RIGHT_LINE + place / 2u], RIGHT_LINE);
    }
    return coopLoadT<coop_mat16x16<f16, B>>(&right_step[place * RIGHT_LINE + column / 2u], RIGHT_LINE);
}

// Writes each subgroup's matrix of sums; the first subgroup's lies at `row` and `column` of the output.
fn write(matrix: coop_mat16x16<f32, C>, subgroup: u32, unit: u32, row: u32, column: u32, batch: u32) {
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
    let own_row = row + own / ACROSS * OWN_ROWS + inside / MATRIX_ROW;
    let own_column = column + own % ACROSS * OWN_COLUMNS + inside % MATRIX_ROW * 4u;
    if (own_row < rows && own_column < columns) {
        output[((batch * rows + own_row) * columns + own_column) / 4u] = vec4<Number>(sums[place]);
    }
}

alias Sum = ptr<function, coop_mat16x16<f32, C>>;

// Adds the products of 16 places of the step to the sums of two matrices of a column, of which the first is at
// `row` of the tile.
fn add_column(right_0: coop_mat16x16<f16, B>, row: u32, place: u32, upper: Sum, lower: Sum) {
    *upper = coopMultiplyAdd(left_matrix(row, place), right_0, *upper);
    *lower = coopMultiplyAdd(left_matrix(row + SIDE, place), right_0, *lower);
}

// The same for two by two matrices.
fn add_square(
    right_0: coop_mat16x16<f16, B>,
    right_1: coop_mat16x16<f16, B>,
    row: u32,
    place: u32,
    sum00: Sum,
    sum01: Sum,
    sum10: Sum,
    sum11: Sum,
) {
    let left_0 = left_matrix(row, place);
    *sum00 = coopMultiplyAdd(left_0, right_0, *sum00);
    *sum01 = coopMultiplyAdd(left_0, right_1, *sum01);
    let left_1 = left_matrix(row + SIDE, place);
    *sum10 = coopMultiplyAdd(left_1, right_0, *sum10);
    *sum11 = coopMultiplyAdd(left_1, right_1, *sum11);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) cube: vec3<u32>, @builtin(local_invocation_index) unit: u32) {
    let subgroup = unit / SUBGROUP;
    let row = subgroup / ACROSS * OWN_ROWS;
    let column = subgroup % ACROSS * OWN_COLUMNS;

    let left_a = left_share(cube, unit);
    let left_b = left_share(cube, unit + UNITS);
    let left_c = left_share(cube, unit + 2u * UNITS);
    let left_d = left_share(cube, unit + 3u * UNITS);
    let right_a = right_share(cube, unit);
    let right_b = right_share(cube, unit + UNITS);
    let right_c = right_share(cube, unit + 2u * UNITS);
    let right_d = right_share(cube, unit + 3u * UNITS);

    // Of a small tile the first of two rows and the first column alone.
    var sum00: coop_mat16x16<f32, C>;
    var sum01: coop_mat16x16<f32, C>;
    var sum10: coop_mat16x16<f32, C>;
    var sum11: coop_mat16x16<f32, C>;
    var sum20: coop_mat16x16<f32, C>;
    var sum21: coop_mat16x16<f32, C>;
    var sum30: coop_mat16x16<f32, C>;
    var sum31: coop_mat16x16<f32, C>;

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
        if (TILE == 128u) {
            let right_0 = right_matrix(column, 0u);
            let right_1 = right_matrix(column + SIDE, 0u);
            add_square(right_0, right_1, row, 0u, &sum00, &sum01, &sum10, &sum11);
            add_square(right_0, right_1, row + 2u * SIDE, 0u, &sum20, &sum21, &sum30, &sum31);
            let right_2 = right_matrix(column, SIDE);
            let right_3 = right_matrix(column + SIDE, SIDE);
            add_square(right_2, right_3, row, SIDE, &sum00, &sum01, &sum10, &sum11);
            add_square(right_2, right_3, row + 2u * SIDE, SIDE, &sum20, &sum21, &sum30, &sum31);
        } else {
            add_column(right_matrix(column, 0u), row, 0u, &sum00, &sum10);
            add_column(right_matrix(column, SIDE), row, SIDE, &sum00, &sum10);
            add_column(right_matrix(column, 2u * SIDE), row, 2u * SIDE, &sum00, &sum10);
            add_column(right_matrix(column, 3u * SIDE), row, 3u * SIDE, &sum00, &sum10);
        }
    }

    let first_row = cube.y * TILE;
    let first_column = cube.x * TILE;
    write(sum00, subgroup, unit, first_row, first_column, cube.z);
    write(sum10, subgroup, unit, first_row + SIDE, first_column, cube.z);
    if (TILE == 128u) {
        write(sum01, subgroup, unit, first_row, first_column + SIDE, cube.z);
        write(sum11, subgroup, unit, first_row + SIDE, first_column + SIDE, cube.z);
        write(sum20, subgroup, unit, first_row + 2u * SIDE, first_column, cube.z);
        write(sum21, subgroup, unit, first_row + 2u * SIDE, first_column + SIDE, cube.z);
        write(sum30, subgroup, unit, first_row + 3u * SIDE, first_column, cube.z);
        write(sum31, subgroup, unit, first_row + 3u * SIDE, first_column + SIDE, cube.z);
    }
}
