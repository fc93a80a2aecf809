# 066_lost_records.pl
#	  A hub that goes back in time and loses records altogether: what its spokes knew of
#	  them is brought together again as it was there, whichever spoke comes first.  A
#	  delete isn't undone by a spoke that had not heard of it, and what a spoke had heard
#	  doesn't count as its own word.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use LinkPair;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $hub = make_hub('hub', [ 'Shop', 'Till' ]);
my $shop = make_spoke('shop', $hub, 'Shop');
my $till = make_spoke('till', $hub, 'Till');

# Wherever the two of them contest something, the till wins.
sql($hub, "INSERT INTO syncext.source_priority VALUES ('Till', '*', '*', 2), ('Shop', '*', '*', 3) ON CONFLICT (source, entity, field) DO UPDATE SET priority = excluded.priority");

sub in_log
{
	my ($where) = @_;
	return sql($hub, "SELECT count(*) FROM syncext.change_log WHERE $where");
}

sub knows
{
	my ($spoke, $id) = @_;
	return sql($spoke, "SELECT count(*) FROM customer WHERE id = '$id'");
}

# ---------- in either order ----------

# What the hub will lose: records that were made after the backup, and one from before it.
sub lose
{
	my ($p) = @_;

	sql($shop, "INSERT INTO customer SELECT '$p' || n, 'Name ' || n, '0' FROM generate_series(1, 9) n");
	settle($shop, $till);
	sql($hub, "SELECT office('${p}2', '{\"phone\": \"2\"}')");
	settle($shop, $till);
	# a row that the till makes anew after the shop's delete, of which the shop won't hear
	sql($shop, "DELETE FROM customer WHERE id = '${p}7'");
	settle($shop, $till);
	sql($hub, "SELECT office('${p}5', NULL)");
	# the till won't hear of any of this
	sql($shop, "DELETE FROM customer WHERE id IN ('${p}1', '${p}2', '${p}4', '${p}old'); UPDATE customer SET phone = 'new' WHERE id = '${p}6'");
	exchange($shop);
	sql($till, "INSERT INTO customer VALUES ('${p}7', 'Again', '7')");
	# only the hub hears of that
	my $holder = Session->new($till->connstr('shop'));
	$holder->query("BEGIN; SELECT FROM customer WHERE id IN ('${p}1', '${p}2', '${p}4', '${p}5', '${p}6', '${p}old') ORDER BY id FOR UPDATE");
	exchange($till);
	$holder->query('COMMIT');
	$holder->quit;
	# and not even the hub of these
	sql($shop, "DELETE FROM customer WHERE id = '${p}3'");
	sql($till, "UPDATE customer SET name = 'At the till' WHERE id = '${p}4'");
}

sub in_order
{
	my ($p, @order) = @_;
	my $first = $order[0]->name;

	sql($shop, "INSERT INTO customer VALUES ('${p}old', 'Old', '0')");
	settle($shop, $till);
	$hub->backup("lost$p");
	lose($p);
	is(knows($till, "${p}1") . knows($till, "${p}5") . knows($till, "${p}old") . knows($shop, "${p}5") . knows($shop, "${p}7"), '11100', "$first first: the till has not heard of deletes, nor the shop of the new row");
	restore_in_place($hub, "lost$p");
	is(sql($hub, "SELECT count(*) FROM syncext.canonical WHERE external_id LIKE '$p%'"), '1', "$first first: the hub has lost what was made since");
	# one that has nothing in common with the one that was lost but its key
	sql($hub, "SELECT office('${p}8', '{\"name\": \"Another\", \"phone\": \"8\"}')");
	exchange($order[0]);
	ok(settle(@order), "$first first: the links come to rest");
	is(join("\n", grep { /^$p/ } split /\n/, all_equal("$first first", $hub, $shop, $till)),
		join("\n", "${p}4|At the till|0", "${p}6|Name 6|new", "${p}7|Again|7", "${p}8|Another|8", "${p}9|Name 9|0"),
		"$first first: what was deleted is gone, but for what was edited; nothing else is");
	is(in_log("external_id = '${p}4' AND source = 'Shop' AND (detail->>'deleted')::boolean"), '1', "$first first: the log has the delete that lost against an edit");
	is(in_log("external_id = '${p}8' AND source <> 'Office' AND fields->>'name' = 'Name 8' AND detail->'lost' IS NOT NULL") > 0, 1, "$first first: of a record that was made anew meanwhile, what was known before counts as an edit, and lost");
	is(in_log("external_id IN ('${p}1', '${p}2', '${p}3', '${p}5', '${p}6', '${p}7', '${p}9', '${p}old') AND detail->'lost' IS NOT NULL"), '0', "$first first: nothing else was contested");
	like(turned($shop), qr/of \d+ records it had lost something that was sent again/, "$first first: the shop tells");
	sql($shop, "UPDATE customer SET phone = 'later' WHERE id = '${p}9'");
	sql($till, "UPDATE customer SET name = 'Later' WHERE id = '${p}7'");
	sql($hub, "SELECT office('${p}6', '{\"phone\": \"later\"}')");
	settle(@order);
	like(all_equal("$first first, later", $hub, $shop, $till), qr/${p}6\|Name 6\|later\n${p}7\|Later\|7\n.*${p}9\|Name 9\|later/s, "$first first: edits go on");
	is(exchange($shop)->{pulled} + exchange($till)->{pulled}, 0, "$first first: nothing is compared twice");
}

in_order('A', $shop, $till);
in_order('B', $till, $shop);

# ---------- fields that one of them doesn't have ----------

sql($till, 'SELECT sync_detach(\'customer\'); ALTER TABLE customer ADD mail text; SELECT sync_attach(\'customer\', \'Till\', \'customer\')');
settle($shop, $till);
$hub->backup('fields');
sql($till, "INSERT INTO customer VALUES ('F1', 'Fields', '0', 'f\@x'), ('F2', 'Fields', '0', 'f\@x')");
settle($shop, $till);
sql($shop, "UPDATE customer SET phone = '1' WHERE id = 'F1'");
settle($shop);
restore_in_place($hub, 'fields');
exchange($shop);
ok(settle($shop, $till), 'fields: the links come to rest');
is(sql($hub, q(SELECT string_agg(fields::text, ' ' ORDER BY external_id) FROM syncext.canonical WHERE external_id LIKE 'F%')),
	'{"mail": "f@x", "name": "Fields", "phone": "1"} {"mail": "f@x", "name": "Fields", "phone": "0"}', 'fields: those that the first one does not know come from the other');
is(sql($till, "SELECT string_agg(concat_ws('|', id, name, phone, mail), ' ' ORDER BY id) FROM customer WHERE id LIKE 'F%'"), 'F1|Fields|1|f@x F2|Fields|0|f@x', 'fields: and stay there');
is(in_log("external_id LIKE 'F%' AND detail->'lost' IS NOT NULL"), '0', 'fields: none is contested');

# the other one knows nothing of the field, whichever way the hub has it again
$hub->backup('columns');
sql($till, "UPDATE customer SET phone = '2' WHERE id = 'F1'");
settle($shop, $till);
restore_in_place($hub, 'columns');
exchange($till);
ok(settle($shop, $till), 'columns: the links come to rest');
sql($shop, "ALTER TABLE customer ADD mail text DEFAULT 'new'; UPDATE customer SET name = 'Named' WHERE id = 'F1'");
ok(settle($shop, $till), 'columns: and when one is added');
is(sql($hub, q(SELECT fields FROM syncext.canonical WHERE external_id = 'F1')), '{"mail": "f@x", "name": "Named", "phone": "2"}', 'columns: what one holds because it was added is no edit');
sql($shop, "CALL sync_load('customer')");
ok(settle($shop, $till), 'columns: and when it is loaded');
is(sql($shop, "SELECT mail FROM customer WHERE id = 'F1'"), 'f@x', 'columns: which brings what the hub has');

# ---------- back twice: times that a spoke each has met ----------

for my $order ([ $shop, $till ], [ $till, $shop ])
{
	my $first = $order->[0]->name;
	my $id = "T$first";

	$hub->backup("twice$first");
	sql($shop, "INSERT INTO customer VALUES ('$id', 'Twice', '0')");
	settle($shop, $till);
	sql($shop, "DELETE FROM customer WHERE id = '$id'");
	exchange($shop);
	restore_in_place($hub, "twice$first");
	exchange($shop);
	is(sql($hub, "SELECT deleted FROM syncext.canonical WHERE external_id = '$id'"), 't', "twice, $first first: the delete is there again");
	restore_in_place($hub, "twice$first");
	exchange($order->[0]);
	ok(settle(@$order), "twice, $first first: the links come to rest");
	all_equal("twice, $first first", $hub, $shop, $till);
	# who knows which of them came later?  The ladder decides, and its answer tells
	is(in_log("external_id = '$id' AND resolution = 'PRIORITY_WIN'") > 0, 1, "twice, $first first: what one has met and the other not is contested");
	is(in_log("external_id = '$id' AND source = 'Shop' AND (detail->>'deleted')::boolean"), '1', "twice, $first first: the delete is told");
}

# ---------- parents and children ----------

sql($hub, q(SELECT sync_add_entity('purchase'), sync_add_reference('purchase', 'customer', 'customer', 'cascade')));
for my $spoke ($shop, $till)
{
	my $source = $spoke == $shop ? 'Shop' : 'Till';
	sql($spoke, "SELECT sync_add_entity('purchase');
		CREATE TABLE purchase (id text PRIMARY KEY, customer text REFERENCES customer ON DELETE CASCADE, what text);
		SELECT sync_attach('purchase', '$source', 'purchase')");
}

sub purchases
{
	my ($node) = @_;
	return sql($node, $node == $hub ? q(SELECT concat_ws('|', external_id, fields->>'customer', fields->>'what') FROM syncext.canonical WHERE entity = 'purchase' AND NOT deleted ORDER BY 1) :
		q(SELECT concat_ws('|', id, customer, what) FROM purchase ORDER BY 1));
}

for my $order ([ $shop, $till ], [ $till, $shop ])
{
	my $first = $order->[0]->name;
	my $p = "P$first";

	sql($shop, "INSERT INTO customer SELECT '$p' || n, 'Parent', '0' FROM generate_series(1, 2) n; INSERT INTO purchase VALUES ('$p 1', '${p}1', 'old')");
	settle($shop, $till);
	$hub->backup("parents$first");
	# of a parent that is left, of one that is lost, and of one that is deleted with its children
	sql($shop, "INSERT INTO customer VALUES ('${p}3', 'Parent', '0');
		INSERT INTO purchase VALUES ('$p 2', '${p}2', 'new'), ('$p 3', '${p}3', 'new'), ('$p 4', '${p}1', 'new')");
	settle($shop, $till);
	sql($shop, "DELETE FROM customer WHERE id = '${p}1'");
	settle($shop);
	is(sql($hub, "SELECT count(*) FROM syncext.canonical WHERE entity = 'purchase' AND deleted AND fields->>'customer' = '${p}1'"), '2', "parents, $first first: the hub has deleted the children");
	restore_in_place($hub, "parents$first");
	exchange($order->[0]);
	ok(settle(@$order), "parents, $first first: the links come to rest");
	all_equal("parents, $first first", $hub, $shop, $till);
	is(join("\n", grep { /^$p/ } split /\n/, purchases($_)), "$p 2|${p}2|new\n$p 3|${p}3|new", "parents, $first first: children are where their parents are, at " . $_->name) for $hub, $shop, $till;
	is(sql($hub, 'SELECT count(*) FROM syncext.waiting'), '0', "parents, $first first: none waits");
	is(sql($_, 'SELECT count(*) FROM syncext.dead_letter'), '0', "parents, $first first: nothing was given up at " . $_->name) for $hub, $shop, $till;
}

$_->stop for $hub, $shop, $till;
done_testing();
