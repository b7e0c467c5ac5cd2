// Products of halves by matrix units (tensor cores), sums in f32; twin of src/ops/product.rs.
//
// A workgroup takes a tile of the output. Its subgroups form teams that share the steps along the inner
// axis; a subgroup of a team takes 64 × 32 of the tile, 4 × 2 matrices of 16 × 16. A step of an operand is
// staged in workgroup memory in lines that lie as they do in the operand, a little apart, so that the
// subgroups do not meet in a bank.

enable f16;
enable wgpu_cooperative_matrix;

// A plan, which src/ops/product/wgsl.rs puts in place of these lines:
alias Number = f16;
const TEAMS: u32 = 1u;
const STEP: u32 = 32u;
const TILE: u32 = 128u;
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
const TEAM_SUBGROUPS: u32 = UNITS / SUBGROUP / TEAMS;
const TEAM_UNITS: u32 = UNITS / TEAMS;
// Subgroups side by side in the tile.
const ACROSS: u32 = TILE / 32u;
// Quads of a matrix, and of a row of it.
const MATRIX: u32 = 64u;
const MATRIX_ROW: u32 = 4u;

// Quads from a line of a step to the next, and of a step: lines are rows or columns of the tile where
// operands lie along the inner axis, else places of the step.
const LEFT_LINE: u32 = select(TILE, STEP, LEFT_LIES_INNER) / 4u + 2u;
const RIGHT_LINE: u32 = select(TILE, STEP, RIGHT_LIES_INNER) / 4u + 2u;
const LEFT_STEP: u32 = select(STEP, TILE, LEFT_LIES_INNER) * LEFT_LINE;
const RIGHT_STEP: u32 = select(STEP, TILE, RIGHT_LIES_INNER) * RIGHT_LINE;

var<workgroup> left_step: array<vec4<f16>, TEAMS * LEFT_STEP>;
var<workgroup> right_step: array<vec4<f16>, TEAMS * RIGHT_STEP>;
// A matrix of sums of each subgroup.
var<workgroup> sums: array<vec4<f32>, UNITS / SUBGROUP * MATRIX>;

// A quad of a step that a unit stages.
struct Share {
    // Where the operand has its line, of those that go through all steps.
    line: u32,
    // Its inner place in the first step.
    place: u32,
    // Where it is in the step.
    slot: u32,
}

// The quads of a step that a unit stages.
struct Staged {
    a: vec4<f16>,
    b: vec4<f16>,
    c: vec4<f16>,
    d: vec4<f16>,
}

fn share_of(operand: Operand, first: u32, batch: u32, own: u32, team: u32, lies_inner: bool) -> Share {
    let base = batch * operand.batch;
    if (lies_inner) {
        let line = own / (STEP / 4u);
        let quad = own % (STEP / 4u);
        // Lines past the last read it again: nothing that they add up to is written.
        let outer = min(first + line, operand.count - 1u);
        let slot = (team * TILE + line) * (STEP / 4u + 2u) + quad;
        return Share(base + outer * operand.outer, team * STEP + 4u * quad, slot);
    }
    let line = own / (TILE / 4u);
    let quad = own % (TILE / 4u);
    let outer = min(first / 4u + quad, operand.count / 4u - 1u);
    let slot = (team * STEP + line) * (TILE / 4u + 2u) + quad;
    return Share(base + outer, team * STEP + line, slot);
}

fn left_share(cube: vec3<u32>, own: u32, team: u32) -> Share {
    return share_of(settings.left, cube.y * TILE, cube.z, own, team, LEFT_LIES_INNER);
}

fn right_share(cube: vec3<u32>, own: u32, team: u32) -> Share {
    return share_of(settings.right, cube.x * TILE, cube.z, own, team, RIGHT_LIES_INNER);
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
    left_step[share.slot] = select(vec4<f16>(), quad, share.place + start < settings.inner);
}

fn put_right(share: Share, start: u32, quad: vec4<f16>) {
    right_step[share.slot] = select(vec4<f16>(), quad, share.place + start < settings.inner);
}

// The 16 rows from `row` of the tile by the 16 places from `place` of the team's step.
fn left_matrix(team: u32, row: u32, place: u32) -> coop_mat16x16<f16, A> {
    if (LEFT_LIES_INNER) {
        return coopLoadT<coop_mat16x16<f16, A>>(
            &left_step[team * LEFT_STEP + row * LEFT_LINE + place / 4u],
            LEFT_LINE,
        );
    }
    return coopLoad<coop_mat16x16<f16, A>>(
        &left_step[team * LEFT_STEP + place * LEFT_LINE + row / 4u],
        LEFT_LINE,
    );
}

fn right_matrix(team: u32, column: u32, place: u32) -> coop_mat16x16<f16, B> {
    if (RIGHT_LIES_INNER) {
        return coopLoad<coop_mat16x16<f16, B>>(
            &right_step[team * RIGHT_STEP + column * RIGHT_LINE + place / 4u],
            RIGHT_LINE,
        );
    }
    return coopLoadT<coop_mat16x16<f16, B>>(
        &right_step[team * RIGHT_STEP + place * RIGHT_LINE + column / 4u],
        RIGHT_LINE,
    );
}

// Adds up the teams' matrices of sums, one team after the other, and writes those of the subgroups of a team
// whose first lies at `row` and `column` of the output.
fn write(matrix: coop_mat16x16<f32, C>, subgroup: u32, unit: u32, row: u32, column: u32, batch: u32) {
    workgroupBarrier();
    coopStoreT(matrix, &sums[subgroup * MATRIX], MATRIX_ROW);
    workgroupBarrier();
    let rows = settings.left.count;
    let columns = settings.right.count;
    for (var place = unit; place < TEAM_SUBGROUPS * MATRIX; place += UNITS) {
        let own = place / MATRIX;
        let inside = place % MATRIX;
        var sum = sums[place];
        for (var team = 1u; team < TEAMS; team += 1u) {
            sum += sums[team * TEAM_SUBGROUPS * MATRIX + place];
        }
        let own_row = row + own / ACROSS * 64u + inside / MATRIX_ROW;
        let own_column = column + own % ACROSS * 32u + inside % MATRIX_ROW * 4u;
        if (own_row < rows && own_column < columns) {
            output[((batch * rows + own_row) * columns + own_column) / 4u] = vec4<Number>(sum);
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) cube: vec3<u32>, @builtin(local_invocation_index) unit: u32) {
    let subgroup = unit / SUBGROUP;
    let team = subgroup / TEAM_SUBGROUPS;
    let own = unit % TEAM_UNITS;
    let row = subgroup % TEAM_SUBGROUPS / ACROSS * 64u;
    let column = subgroup % TEAM_SUBGROUPS % ACROSS * 32u;

    let left_a = left_share(cube, own, team);
    let left_b = left_share(cube, own + TEAM_UNITS, team);
    let left_c = left_share(cube, own + 2u * TEAM_UNITS, team);
    let left_d = left_share(cube, own + 3u * TEAM_UNITS, team);
    let right_a = right_share(cube, own, team);
    let right_b = right_share(cube, own + TEAM_UNITS, team);
    let right_c = right_share(cube, own + 2u * TEAM_UNITS, team);
    let right_d = right_share(cube, own + 3u * TEAM_UNITS, team);

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
    for (var start = 0u; start < settings.inner; start += TEAMS * STEP) {
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
        let next = start + TEAMS * STEP;
        of_left.a = read_left(left_a, next);
        of_left.b = read_left(left_b, next);
        of_left.c = read_left(left_c, next);
        of_left.d = read_left(left_d, next);
        of_right.a = read_right(right_a, next);
        of_right.b = read_right(right_b, next);
        of_right.c = read_right(right_c, next);
        of_right.d = read_right(right_d, next);
        for (var place = 0u; place < STEP; place += 16u) {
            let right_0 = right_matrix(team, column, place);
            let right_1 = right_matrix(team, column + 16u, place);
            let left_0 = left_matrix(team, row, place);
            sum00 = coopMultiplyAdd(left_0, right_0, sum00);
            sum01 = coopMultiplyAdd(left_0, right_1, sum01);
            let left_1 = left_matrix(team, row + 16u, place);
            sum10 = coopMultiplyAdd(left_1, right_0, sum10);
            sum11 = coopMultiplyAdd(left_1, right_1, sum11);
            let left_2 = left_matrix(team, row + 32u, place);
            sum20 = coopMultiplyAdd(left_2, right_0, sum20);
            sum21 = coopMultiplyAdd(left_2, right_1, sum21);
            let left_3 = left_matrix(team, row + 48u, place);
            sum30 = coopMultiplyAdd(left_3, right_0, sum30);
            sum31 = coopMultiplyAdd(left_3, right_1, sum31);
        }
    }

    let first_row = cube.y * TILE;
    let first_column = cube.x * TILE;
    write(sum00, subgroup, unit, first_row, first_column, cube.z);
    write(sum01, subgroup, unit, first_row, first_column + 16u, cube.z);
    write(sum10, subgroup, unit, first_row + 16u, first_column, cube.z);
    write(sum11, subgroup, unit, first_row + 16u, first_column + 16u, cube.z);
    write(sum20, subgroup, unit, first_row + 32u, first_column, cube.z);
    write(sum21, subgroup, unit, first_row + 32u, first_column + 16u, cube.z);
    write(sum30, subgroup, unit, first_row + 48u, first_column, cube.z);
    write(sum31, subgroup, unit, first_row + 48u, first_column + 16u, cube.z);
}
