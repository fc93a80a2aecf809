# 066_hub_restored.pl
#	  A hub that goes back in time, by files that are restored, by a recovery to a
#	  point in time, as a standby that lagged, by a dump: what it had lost of what its
#	  spokes know is sent to it again, what was done there since counts, and nothing
#	  has to be called.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $hub = make_hub('hub', [ 'Shop', 'Till' ], has_archiving => 1);
my $shop = make_spoke('shop', $hub, 'Shop');
my $till = make_spoke('till', $hub, 'Till');

# What there is before, and what is done to it that the hub will lose.
sub before
{
	my ($p) = @_;

	sql($shop, "INSERT INTO customer SELECT '$p' || n, 'Name ' || n, '0' FROM generate_series(1, 8) n");
	settle($shop, $till);
}

sub lost
{
	my ($p) = @_;

	# each of them is told again by who has it: the one that made it, or one that was told
	sql($shop, "UPDATE customer SET phone = '1' WHERE id = '${p}1'; DELETE FROM customer WHERE id = '${p}2'; INSERT INTO customer VALUES ('${p}new', 'New', '9')");
	sql($hub, "SELECT office('${p}3', '{\"phone\": \"3\"}'), office('${p}4', NULL), office('${p}made', '{\"name\": \"Made\", \"phone\": \"7\"}'), office('${p}5', '{\"phone\": \"5\"}')");
	settle($shop, $till);
	# several row versions more than those that will come
	sql($hub, "SELECT office('${p}6', jsonb_build_object('phone', n::text)) FROM generate_series(1, 5) n");
	settle($shop, $till);
}

# What is done at the hub before its spokes come again, and by them meanwhile.
sub meanwhile
{
	my ($p, $node) = @_;

	sql($node, "SELECT office('${p}5', '{\"name\": \"Renamed\"}'), office('${p}7', '{\"phone\": \"77\"}'), office('${p}since', '{\"name\": \"Since\", \"phone\": \"8\"}')");
	sql($till, "UPDATE customer SET name = 'At the till' WHERE id = '${p}8'; UPDATE customer SET name = 'At the till' WHERE id = '${p}3'");
}

sub check
{
	my ($how, $p, $node, $reason) = @_;

	ok(settle($shop, $till), "$how: the links come to rest");
	my $rows = all_equal($how, $node, $shop, $till);
	is(join("\n", grep { /^$p/ } split /\n/, $rows), join("\n",
		"${p}1|Name 1|1", "${p}3|At the till|3", "${p}5|Renamed|5", "${p}6|Name 6|5", "${p}7|Name 7|77", "${p}8|At the till|0",
		"${p}made|Made|7", "${p}new|New|9", "${p}since|Since|8"), "$how: what was lost is there, and what came since");
	like(turned($node), qr/info change feed began epoch … at …: $reason/, "$how: the hub tells of it");
	like(turned($_), qr/info link up its hub had gone back in time, or crashed, as was found at …: of \d+ records it had lost something that was sent again/,
		"$how: so does the spoke") for $shop;
	# and all goes on: of a record whose row version the spokes have seen long ago, too
	sql($node, "SELECT office('${p}6', '{\"phone\": \"6\"}')");
	sql($till, "UPDATE customer SET phone = '88' WHERE id = '${p}8'");
	settle($shop, $till);
	like(all_equal("$how, later", $node, $shop, $till), qr/${p}6\|Name 6\|6\n.*${p}8\|At the till\|88/s, "$how: edits go on both ways");
	is(exchange($shop)->{pulled}, 0, "$how: nothing is compared twice");
}

# ---------- files restored, in the same place: nothing of them tells ----------

before('A');
$hub->backup('files');
my $epoch = sql($hub, 'SELECT epoch FROM syncext.feed_origin');
lost('A');
restore_in_place($hub, 'files');
is(sql($hub, 'SELECT epoch FROM syncext.feed_origin'), $epoch, 'restored files know nothing of it');
meanwhile('A', $hub);
check('files', 'A', $hub, 'its files were restored');
cmp_ok(sql($hub, 'SELECT epoch FROM syncext.feed_origin'), '>', $epoch, 'a new epoch begins');

# ---------- the same field, edited in the time that is lost and since ----------

sql($shop, "INSERT INTO customer VALUES ('X1', 'Contested', '0'), ('X2', 'Gone', '0')");
settle($shop, $till);
$hub->backup('contest');
sql($shop, "UPDATE customer SET phone = '1' WHERE id = 'X1'; UPDATE customer SET phone = '2' WHERE id = 'X2'");
settle($shop, $till);
restore_in_place($hub, 'contest');
sql($hub, q(SELECT office('X1', '{"phone": "111"}'), office('X2', NULL)));
settle($shop, $till);
unlike(all_equal('contested', $hub, $shop, $till), qr/^X2\|/m, 'a delete since then is not undone by what is sent again of before');
is(sql($hub, q(SELECT concat_ws(' ', c.resolution, c.fields->>'phone', c.detail->'lost') FROM syncext.change_log c WHERE c.external_id = 'X2' ORDER BY c.seq DESC LIMIT 1)),
	'PRIORITY_WIN 2 ["*"]', 'the ladder decided between the two, and the log has the edit that lost');
is(sql($hub, q(SELECT string_agg(DISTINCT c.fields->>'phone', ' ' ORDER BY c.fields->>'phone') FROM syncext.change_log c WHERE c.external_id = 'X1' AND c.fields ? 'phone')),
	'0 1 111', 'both edits of the same field stand in the log');

# ---------- a conflict that waits for a person, and is lost ----------

sql($hub, q(UPDATE syncext.entity SET ladder = '{version,merge,manual}' WHERE name = 'customer'));
sql($shop, "INSERT INTO customer VALUES ('M1', 'Manual', '0')");
settle($shop, $till);
sql($hub, q(SELECT office('M1', '{"phone": "office"}')));
$hub->backup('manual');
sql($shop, "UPDATE customer SET phone = 'shop' WHERE id = 'M1'");
exchange($shop);
is(sql($hub, q(SELECT count(*) FROM syncext.conflict_log WHERE external_id = 'M1' AND status = 'pending')), '1', 'an edit is left to a person');
restore_in_place($hub, 'manual');
is(sql($hub, q(SELECT count(*) FROM syncext.conflict_log WHERE external_id = 'M1')), '0', 'and the hub knows nothing of it any more');
settle($shop, $till);
is(sql($hub, q(SELECT incoming->>'phone' FROM syncext.conflict_log WHERE external_id = 'M1' AND status = 'pending')), 'shop', 'it comes again');
sql($hub, q(SELECT sync_resolve(id, 'incoming') FROM syncext.conflict_log WHERE external_id = 'M1' AND status = 'pending'));
sql($hub, q(UPDATE syncext.entity SET ladder = '{version,merge,priority,manual}' WHERE name = 'customer'));
settle($shop, $till);
like(all_equal('a lost conflict', $hub, $shop, $till), qr/M1\|Manual\|shop/, 'and is decided');

# ---------- a crash loses nothing that was told ----------

sql($hub, q(SELECT office('A1', '{"phone": "crash"}')));
settle($shop, $till);
$epoch = sql($hub, 'SELECT epoch FROM syncext.feed_origin');
for my $n (1 .. 3)
{
	sql($hub, "SELECT office('A1', '{\"phone\": \"crash $n\"}')");
	exchange($shop);
	$hub->stop('immediate');
	$hub->start;
	exchange($shop);
}
settle($shop, $till);
all_equal('crash', $hub, $shop, $till);
is(sql($hub, 'SELECT epoch FROM syncext.feed_origin'), $epoch, 'a crash begins no epoch');

# ---------- an edit that was answered beside those of others, which have yet to come ----------

sql($shop, "INSERT INTO customer VALUES ('W1', 'Waits', '0')");
settle($shop, $till);
sql($hub, q(SELECT office('W1', '{"name": "Office"}')));
# a row that another session holds is not written, but its edits are sent
my $holder = Session->new($shop->connstr('shop'));
sub edit_and_hold
{
	my ($phone) = @_;

	$holder->query("UPDATE customer SET phone = '$phone' WHERE id = 'W1'");
	$holder->query("BEGIN; SELECT FROM customer WHERE id = 'W1' FOR UPDATE");
	exchange($shop);
	$holder->query('COMMIT');
}
edit_and_hold('first');
$hub->backup('waits');
edit_and_hold('second');
is(sql($hub, q(SELECT fields->>'phone' FROM syncext.canonical WHERE external_id = 'W1')), 'second', 'an edit is answered');
is(sql($shop, q(SELECT name FROM customer WHERE id = 'W1')), 'Waits', 'and what came before it at the hub has not come here');
restore_in_place($hub, 'waits');
ok(exchange_until($shop, q(SELECT name = 'Office' FROM customer WHERE id = 'W1')), 'beside others: what waited comes');
settle($shop, $till);
like(all_equal('beside others', $hub, $shop, $till), qr/W1\|Office\|second/, 'beside others: the edit is sent again');
$holder->quit;

# ---------- the spoke, too: to what it was in the time that the hub has lost ----------

before('B');
$hub->backup('both');
sql($hub, "SELECT office('B1', jsonb_build_object('phone', n::text)) FROM generate_series(1, 5) n");
sql($shop, "UPDATE customer SET phone = 'lost' WHERE id = 'B2'");
settle($shop, $till);
$shop->backup('both');
restore_in_place($hub, 'both');
for my $n (1 .. 4)
{
	sql($hub, "SELECT office('B3', '{\"phone\": \"since $n\"}')");
	sql($shop, "UPDATE customer SET phone = 'since $n' WHERE id = 'B4'");
	settle($shop, $till);
}
# what the hub has counted since is more than the spoke has ever seen
sql($hub, q(SELECT office('B1', '{"phone": "now"}'), office('B5', NULL)));
settle($shop, $till);
restore_in_place($shop, 'both');
sql($shop, "UPDATE customer SET name = 'After' WHERE id = 'B6'");
settle($shop, $till);
is(join("\n", grep { /^B/ } split /\n/, all_equal('both', $hub, $shop, $till)),
	"B1|Name 1|now\nB2|Name 2|lost\nB3|Name 3|since 4\nB4|Name 4|since 4\nB6|After|0\nB7|Name 7|0\nB8|Name 8|0", 'both: each has what the other one knew');

# ---------- recovered to a point in time ----------

before('P');
$hub->backup('pitr');
my $target = sql($hub, 'SELECT clock_timestamp()');
sql($hub, 'SELECT pg_switch_wal()');
lost('P');
sql($hub, 'SELECT pg_switch_wal()');
$hub->stop;
my $recovered = PostgreSQL::Test::Cluster->new('recovered');
$recovered->init_from_backup($hub, 'pitr', has_restoring => 1, standby => 0);
$recovered->append_conf('postgresql.conf', "recovery_target_time = '$target'\nrecovery_target_action = promote\n");
$recovered->start;
$recovered->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
my $old = $hub;
$hub = $recovered;
lead_to($_, $hub) for $shop, $till;
meanwhile('P', $hub);
check('point in time', 'P', $hub, 'a standby was promoted, or the database recovered');

# who pulls can tell, too
is(sql($hub, q(SELECT count(DISTINCT epoch) = 1 AND min(epoch) = (SELECT epoch FROM syncext.feed_origin) FROM sync_pull('Office'))), 't', 'sync_pull says the epoch');

# the old one comes back
$old->start;
lead_to($shop, $old);
like(exchange_error($shop), qr/the hub behind link "up" is an old primary.*HINT:.*ALTER SERVER hub.*SELECT syncext.release_hub\('up'\)/s, 'an old primary is refused, with the two calls to choose from');
like(turned($shop), qr/error link up is stopped since …, until an administrator decides/, 'and sync_check tells');
lead_to($shop, $hub);
exchange($shop);
unlike(turned($shop), qr/decides/, 'the right one goes on');
$old->stop;

# ---------- a standby that lagged ----------

before('S');
$hub->adjust_conf('postgresql.conf', $_, undef) for qw(recovery_target_time recovery_target_action restore_command);
$hub->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($hub, 'standby', has_streaming => 1);
$standby->start;
$hub->wait_for_catchup($standby, 'replay', $hub->lsn('insert'));
$standby->stop;
lost('S');
$hub->stop('immediate');
$standby->start;
$standby->promote;
$hub = $standby;
lead_to($_, $hub) for $shop, $till;
meanwhile('S', $hub);
check('lagging standby', 'S', $hub, 'a standby was promoted');

# ---------- a dump, restored elsewhere ----------

before('D');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$hub->command_ok([ 'pg_dump', '-f', $dump, $hub->connstr('shop') ], 'pg_dump');
lost('D');
$hub->stop;
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init;
$restored->start;
$restored->safe_psql('postgres', 'CREATE DATABASE shop');
$restored->command_ok([ 'psql', '-qXv', 'ON_ERROR_STOP=1', '-f', $dump, $restored->connstr('shop') ], 'restore');
$hub = $restored;
lead_to($_, $hub) for $shop, $till;
meanwhile('D', $hub);
check('dump', 'D', $hub, 'a dump was restored');

# ---------- a link that is ended and made again ----------

sql($till, "UPDATE customer SET phone = 'old' WHERE id IN ('D1', 'D7')");
settle($shop, $till);
sql($till, "SELECT sync_unlink('up')");
sql($shop, "UPDATE customer SET phone = 'new' WHERE id = 'D1'; DELETE FROM customer WHERE id = 'D7'");
settle($shop);
sql($till, "BEGIN; SELECT sync_link('up', 'hub', 'Till'); UPDATE syncext.link SET enabled = false; COMMIT; CALL sync_load('customer')");
settle($shop, $till);
my $rows = all_equal('linked again', $hub, $shop, $till);
like($rows, qr/D1\|Name 1\|new\n/, 'a load sends nothing that was agreed on before');
unlike($rows, qr/D7/, 'and brings nothing back');

$_->stop for $hub, $shop, $till;
done_testing();
