# 067_spoke_restored.pl
#	  Spokes that go back in time, and databases that say they were one: what a spoke
#	  has lost comes back to it; a copy, by TEMPLATE or of all files, and an old primary
#	  are refused, whoever comes first; what was upgraded or moved goes on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $hub = make_hub('hub', [ 'Shop', 'Till' ]);
my $shop = make_spoke('shop', $hub, 'Shop');
my $till = make_spoke('till', $hub, 'Till');

sub before
{
	my ($p) = @_;

	sql($shop, "INSERT INTO customer SELECT '$p' || n, 'Name ' || n, '0' FROM generate_series(1, 6) n");
	settle($shop, $till);
}

sub lost
{
	my ($p) = @_;

	sql($shop, "UPDATE customer SET phone = '1' WHERE id = '${p}1'; DELETE FROM customer WHERE id = '${p}2'; INSERT INTO customer VALUES ('${p}new', 'New', '9')");
	sql($hub, "SELECT office('${p}3', '{\"phone\": \"3\"}'), office('${p}4', NULL), office('${p}made', '{\"name\": \"Made\", \"phone\": \"7\"}')");
	settle($shop, $till);
}

sub check
{
	my ($how, $p, $node) = @_;

	ok(settle($node, $till), "$how: the links come to rest");
	my $rows = all_equal($how, $hub, $node, $till);
	is(join("\n", grep { /^$p/ } split /\n/, $rows), join("\n",
		"${p}1|Name 1|1", "${p}3|Name 3|3", "${p}5|Since|0", "${p}6|Name 6|6", "${p}made|Made|7", "${p}new|New|9"),
		"$how: what was lost is back, and what came since");
	like(turned($node), qr/link up this database had gone back in time, as the hub told at …/, "$how: the spoke tells of it");
	like(turned($hub), qr/info source Shop the database that is linked as it had gone back in time/, "$how: so does the hub");
	sql($hub, "SELECT office('${p}1', '{\"phone\": \"11\"}')");
	sql($node, "UPDATE customer SET phone = '66' WHERE id = '${p}6'");
	settle($node, $till);
	like(all_equal("$how, later", $hub, $node, $till), qr/${p}1\|Name 1\|11\n.*${p}6\|Name 6\|66/s, "$how: edits go on both ways");
	is(exchange($node)->{pulled}, 0, "$how: nothing comes twice");
}

sub meanwhile
{
	my ($p, $node) = @_;

	sql($hub, "SELECT office('${p}5', '{\"name\": \"Since\"}')");
	sql($node, "UPDATE customer SET phone = '6' WHERE id = '${p}6'");
}

# ---------- one that was never served anything, as nobody else has written yet ----------

before('L');
$shop->backup('alone');
sql($shop, "UPDATE customer SET phone = '1' WHERE id = 'L1'; DELETE FROM customer WHERE id = 'L2'; INSERT INTO customer VALUES ('Lnew', 'New', '9')");
settle($shop, $till);
is(sql($hub, q(SELECT batch FROM syncext.cursor WHERE target = 'Shop')), '0', 'the hub has served it nothing');
restore_in_place($shop, 'alone');
settle($shop, $till);
is(all_equal('restored, where nobody else has written', $hub, $shop, $till),
	join("\n", 'L1|Name 1|1', (map { "L$_|Name $_|0" } 3 .. 6), 'Lnew|New|9'), 'what it had sent itself is back');

# ---------- files restored, in the same place ----------

before('A');
sql($shop, "INSERT INTO customer VALUES ('Z1', 'Aged out', '0'), ('Z2', 'Aged out', '0')");
settle($shop, $till);
$shop->backup('files');
lost('A');
# two are deleted, and so long ago that nobody remembers
sql($hub, q(SELECT office('Z1', NULL), office('Z2', NULL)));
settle($shop, $till);
sql($hub, q(SELECT sync_forget('customer', 'Z1'), sync_forget('customer', 'Z2')));
restore_in_place($shop, 'files');
meanwhile('A', $shop);
settle($shop, $till);
is(sql($shop, q(SELECT string_agg(external_id || ': ' || error, E'\n' ORDER BY external_id) FROM syncext.dead_letter)), join("\n", map {
	"$_: this database has gone back in time, and the hub has no record of the row: it may have been deleted there; delete the row, or send it again with sync_redrive" } 'Z1', 'Z2'),
	'rows of which the hub has no record are told one by one');
like(turned($shop), qr/warning link up this database had gone back in time, .*; of 2 that are here it has none/, 'and by sync_check');
sql($shop, q(DELETE FROM customer WHERE id = 'Z1'; SELECT sync_redrive('Shop')));
check('files', 'A', $shop);
like(rows($hub), qr/^Z2\|/m, 'one that is redriven is sent again');
unlike(rows($hub), qr/^Z1\|/m, 'one that is deleted is not');
is(sql($shop, 'SELECT count(*) FROM syncext.dead_letter'), '0', 'and that is that');

# ---------- a copy of all files ----------

before('C');
$shop->backup('clone');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($shop, 'clone');
$clone->start;
# it comes first, and has missed nothing
sql($clone, "DELETE FROM customer WHERE id = 'C2'");
like(exchange_error($clone), qr/another database is linked to the hub of link "up" as source "Shop".*it was moved, or is a copy.*HINT:.*If this is a copy: SELECT sync_unlink\('up'\).*SELECT syncext.release_spoke\('Shop'\) at the hub/s,
	'a copy that comes first is refused');
like(turned($clone), qr/error link up is stopped since …, until an administrator decides/, 'and tells why');
like(turned($hub), qr/error source Shop another database came as it, last at …, and was refused: the same in another place/, 'so does the hub');
sql($shop, "UPDATE customer SET phone = '1' WHERE id = 'C1'");
settle($shop, $till);
like(all_equal('a copy', $hub, $shop, $till), qr/C1\|Name 1\|1/, 'the original goes on');
like(exchange_error($clone), qr/it was restored there, or is a copy/, 'the copy stays refused');
# it is to take its place after all, while the original is connected
my $session = $shop->background_psql('shop', on_error_stop => 0);
$session->query("CALL sync_exchange('up')");
sql($hub, "SELECT syncext.release_spoke('Shop')");
exchange($clone);
sql($hub, q(SELECT office('C5', '{"phone": "5"}')));
$session->query("CALL sync_exchange('up')");
is(sql($shop, q(SELECT phone FROM customer WHERE id = 'C5')), '0', 'a connection of before takes nothing from the one that is linked now');
$session->quit;
like(exchange_error($shop), qr/another database is linked to the hub of link "up" as source "Shop"/, 'once it was let go, the original is the one that is refused');
settle($clone, $till);
all_equal('the copy took its place', $hub, $clone, $till);
$shop->stop;
$shop = $clone;

# ---------- a copy by TEMPLATE ----------

before('T');
$shop->safe_psql('postgres', 'CREATE DATABASE staging TEMPLATE shop');
$shop->safe_psql('staging', 'DELETE FROM customer');
like(exchange_error($shop, 'staging'), qr/This one is a copy of it, by CREATE DATABASE … TEMPLATE/, 'a copy by TEMPLATE is refused');
settle($shop, $till);
like(all_equal('a copy by TEMPLATE', $hub, $shop, $till), qr/T1/, 'its deletes reach nobody');
$shop->safe_psql('staging', "SELECT sync_unlink('up')");
$shop->safe_psql('postgres', 'DROP DATABASE staging');
# of the hub, as well
$hub->safe_psql('postgres', 'CREATE DATABASE staging TEMPLATE shop');
lead_to($till, $hub, 'staging');
like(exchange_error($till), qr/the hub behind link "up" is a copy of the one that was linked/, 'a copy of the hub is refused by its spokes');
lead_to($till, $hub);
exchange($till);

# ---------- a standby that lagged, and the old primary ----------

before('S');
$shop->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($shop, 'standby', has_streaming => 1);
$standby->start;
$shop->wait_for_catchup($standby, 'replay', $shop->lsn('insert'));
$standby->stop;
lost('S');
$shop->stop('immediate');
$standby->start;
$standby->promote;
meanwhile('S', $standby);
check('lagging standby', 'S', $standby);
$shop->start;
sql($shop, 'DELETE FROM customer');
like(exchange_error($shop), qr/This one is an old primary: a later timeline of it has been there/, 'the old primary is refused when it comes back');
$shop->stop;
$shop = $standby;

# one that lacked nothing goes on where it was
$shop->backup('standby2');
$standby = PostgreSQL::Test::Cluster->new('standby2');
$standby->init_from_backup($shop, 'standby2', has_streaming => 1);
$standby->start;
sql($hub, q(SELECT office('S1', '{"phone": "ten"}')));
settle($shop, $till);
$shop->wait_for_catchup($standby, 'replay', $shop->lsn('insert'));
$shop->stop('immediate');
$standby->promote;
my $turned_at = sql($hub, q(SELECT turned_at FROM syncext.spoke WHERE source = 'Shop'));
sql($hub, q(SELECT office('S1', '{"phone": "eleven"}')));
is(exchange($standby)->{pulled}, 1, 'a promoted standby that lacks nothing gets what is new, and no more');
is(sql($hub, q(SELECT turned_at FROM syncext.spoke WHERE source = 'Shop')), $turned_at, 'it had not gone back');
$shop = $standby;

# ---------- a new database behind a source ----------

sql($hub, "SELECT syncext.release_spoke('Till')");
$till->stop;
$till = make_spoke('till2', $hub, 'Till');
settle($shop, $till);
like(all_equal('a new database', $hub, $shop, $till), qr/S1\|/, 'gets what there is, and nothing is called');

# a dump, restored: it is another database until an administrator says otherwise
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
sql($till, q(UPDATE customer SET phone = 'in the dump' WHERE id = 'S1'));
$till->command_ok([ 'pg_dump', '-f', $dump, $till->connstr('shop') ], 'pg_dump of a spoke');
sql($till, q(UPDATE customer SET phone = 'after it' WHERE id = 'S3'));
settle($shop, $till);
$till->safe_psql('postgres', 'DROP DATABASE shop');
$till->safe_psql('postgres', 'CREATE DATABASE shop');
$till->command_ok([ 'psql', '-qXv', 'ON_ERROR_STOP=1', '-f', $dump, $till->connstr('shop') ], 'restore');
like(exchange_error($till), qr/a dump of it was restored here.*release_spoke\('Till'\)/s, 'a spoke that was restored from a dump is refused');
sql($hub, "SELECT syncext.release_spoke('Till')");
settle($shop, $till);
like(all_equal('a restored dump', $hub, $shop, $till), qr/S1\|Name 1\|in the dump\nS3\|Name 3\|after it/, 'until it is let in, and gets what it lacks');

# ---------- upgraded: the spoke, and the hub ----------

sub upgrade
{
	my ($old, $name) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name);
	my $bindir = $old->config_data('--bindir');

	$new->init;
	$new->append_conf('postgresql.conf', "syncext.retry_base = 100\nsyncext.retry_max = 1s\n");
	$old->stop if defined $old->{_pid};
	chdir(PostgreSQL::Test::Utils::tempdir) or die;
	command_ok(
		[   'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
			'-b', $bindir, '-B', $bindir, '-s', $new->host, '-p', $old->port, '-P', $new->port ],
		"pg_upgrade of $name");
	$new->start;
	return $new;
}

sql($hub, q(SELECT office('S3', '{"phone": "before"}')));
sql($shop, q(UPDATE customer SET name = 'Edited before' WHERE id = 'S5'));
my $upgraded = upgrade($shop, 'new_shop');
my $result = exchange($upgraded);
is("$result->{pulled} $result->{pushed}", '1 1', 'an upgraded spoke goes on just where it was');
settle($upgraded, $till);
all_equal('upgraded spoke', $hub, $upgraded, $till);
$shop = $upgraded;

sql($hub, q(SELECT office('S3', '{"phone": "again"}')));
sql($shop, q(UPDATE customer SET name = 'Edited again' WHERE id = 'S5'));
my $new_hub = upgrade($hub, 'new_hub');
lead_to($_, $new_hub) for $shop, $till;
$result = exchange($shop);
is("$result->{pulled} $result->{pushed}", '1 1', 'and so does a spoke of an upgraded hub');
settle($shop, $till);
like(all_equal('upgraded hub', $new_hub, $shop, $till), qr/S3\|Name 3\|again\nS5\|Edited again/, 'with all that was under way');

# ---------- nothing goes over a link while its server is being upgraded ----------

$shop->append_conf('postgresql.conf', "shared_preload_libraries = 'syncext'\n");
$shop->restart;
sql($shop, 'UPDATE syncext.link SET enabled = true; SELECT syncext.start_workers()');
sql($new_hub, q(SELECT office('S3', '{"phone": "by the worker"}')));
ok($shop->poll_query_until('shop', q(SELECT phone = 'by the worker' FROM customer WHERE id = 'S3')), 'a worker exchanges');
# it will have something to do, and find that out when its server starts
$new_hub->stop;
$shop->stop;
$new_hub->start;
sql($new_hub, q(SELECT office('S3', '{"phone": "meanwhile"}')));
$upgraded = upgrade($shop, 'newer_shop');
is($upgraded->safe_psql('shop', q(SELECT phone FROM customer WHERE id = 'S3')), 'by the worker', 'pg_upgrade starts no workers: what they write would be lost, or worse');
sql($upgraded, 'UPDATE syncext.link SET enabled = false');
settle($upgraded, $till);
like(all_equal('upgraded with its workers', $new_hub, $upgraded, $till), qr/S3\|Name 3\|meanwhile/, 'it goes on afterwards');
$upgraded->stop;
command_ok([ 'pg_ctl', '-w', '-D', $upgraded->data_dir, '-l', $upgraded->logfile, '-o', '-b', 'start' ], 'a server as pg_upgrade starts it');
$upgraded->_update_pid(1);
my (undef, undef, $refused) = $upgraded->psql('shop', 'SELECT syncext.start_workers()');
like($refused, qr/no workers run while the server is being upgraded/, 'nor can they be started there');

$_->stop for $new_hub, $upgraded, $till;
done_testing();
