# 066_kept_compared.pl
#	  A hub goes back in time while a spoke's table is detached, or its link is ended:
#	  what was agreed on is kept, and compared when it counts again, in whatever order
#	  that comes.

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
my $backups = 0;

my %does = (
	detach => sub { sql($shop, "SELECT sync_detach('customer')") },
	attach => sub { sql($shop, "SELECT sync_attach('customer', 'Shop', 'customer')") },
	unlink => sub { sql($shop, "SELECT sync_unlink('up')") },
	link => sub { sql($shop, "BEGIN; SELECT sync_link('up', 'hub', 'Shop'); UPDATE syncext.link SET enabled = false; COMMIT") },
	exchange => sub { exchange($_) for $till, $shop },
	restore => sub { restore_in_place($hub, "backup$backups"); sql($hub, "SELECT office('$_[0]6', '{\"name\": \"Since\"}')") },
	edit => sub { sql($shop, "UPDATE customer SET name = 'Meanwhile' WHERE id = '$_[0]4'") },
	let_go => sub { sql($shop, "SELECT syncext.release_hub('up')") },
);

# What the hub loses: edits, a delete and a row of the shop, and what others had told it.
sub try_order
{
	my ($p, @steps) = @_;
	my $what = join(', ', @steps);
	my $edited = grep { $_ eq 'edit' } @steps;

	sql($shop, "INSERT INTO customer SELECT '$p' || n, 'Name', '0' FROM generate_series(1, 6) n");
	settle($shop, $till);
	$hub->backup('backup' . ++$backups);
	sql($shop, "UPDATE customer SET phone = '1' WHERE id = '${p}1'; DELETE FROM customer WHERE id = '${p}2'; INSERT INTO customer VALUES ('${p}new', 'New', '9')");
	sql($hub, "SELECT office('${p}3', '{\"phone\": \"3\"}')");
	settle($shop, $till);
	sql($shop, "UPDATE customer SET phone = '6' WHERE id = '${p}6'");
	settle($shop);
	$does{$_}->($p) for @steps;
	ok(settle($shop, $till), "$what: the links come to rest");
	my @rows = grep { /^$p/ } split /\n/, all_equal($what, $hub, $shop, $till);
	is(join("\n", @rows), join("\n", "${p}1|Name|1", "${p}3|Name|3", $edited ? "${p}4|Meanwhile|0" : "${p}4|Name|0", "${p}5|Name|0", "${p}6|Since|6", "${p}new|New|9"),
		"$what: nothing is lost");
	is(sql($shop, 'SELECT count(*) FROM syncext.uncompared'), '0', "$what: all is compared");
	is(exchange($shop)->{pulled}, 0, "$what: once");
}

try_order('A', qw(detach restore exchange attach));
try_order('B', qw(restore detach exchange attach));
try_order('C', qw(restore detach edit attach));
try_order('D', qw(detach edit restore exchange attach));
try_order('E', qw(unlink restore link));
try_order('F', qw(unlink detach restore link exchange attach));
try_order('G', qw(unlink detach restore link attach));
try_order('H', qw(detach unlink restore link exchange attach));
try_order('I', qw(detach restore exchange unlink link exchange attach));
try_order('J', qw(restore unlink link));
try_order('K', qw(restore unlink detach link exchange unlink link exchange attach));
try_order('L', qw(let_go unlink restore link));

$_->stop for $hub, $shop, $till;
done_testing();
