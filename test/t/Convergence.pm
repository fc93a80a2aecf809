# Convergence.pm
#	  Random edits on all nodes of a tree of hubs and spokes at once; then everything
#	  is exchanged until silence, and all nodes must hold what the first hub's records
#	  say, and every edit that stands nowhere must be told of.  For 062_chain and
#	  063_convergence, which say what the tree is.
#
# A node is a leaf, whose tables belong to its link, or a hub with tables of a source
# of its own.  Sessions of their own edit and exchange, so that edits come in the
# middle of exchanges.  Each node has
#
#	customer, price, visit	flat tables, whose entities have a ladder each; customer
#							gets a column d with a default while all this goes on
#	member		nothing but its key
#	team, player, loan		references that only the tables know of, with ON UPDATE
#							CASCADE; loan does another thing on each node when its
#							team is deleted
#	house, room				a reference that the hubs know of, too
#	part		a tree whose parents have the greater keys
#	place		a unique position, that rows hand on and swap
#
# and rows are lost behind everybody's back, which sync_load and sync_resync mend in
# the end.
#
# Each value of the fields a, b, c and d is written once in all, by one edit.  A
# trigger notes on each node what became of each row there, and whether it was its
# user or the extension that did it: an edit that the user himself wrote over is his
# own business, one that the extension wrote over must be found in the log of who
# decided.  And a hub's records must be what its log says of them, change by change.

package Convergence;

use strict;
use warnings;

use JSON::PP ();
use Session;
use Test::More;
use Time::HiRes qw(sleep);

my %ladder = (
	customer => '{version,merge,priority,manual}',
	visit => '{latest,keep}',
	price => '{priority,overwrite}');
my @flat = sort keys %ladder;
my @fields = qw(a b c);
my @entities = (@flat, qw(member team player loan house room part place));
my %parent = (player => 'team', loan => 'team', room => 'house', part => 'part');
my %reference = (player => 'team', loan => 'team', room => 'house', part => 'up');
my $keys = 6;

# What may go wrong where several write the same rows
my $quarrel = qr/deadlock detected|could not serialize|lock timeout|transaction is aborted|savepoint "." does not exist|violates (?:foreign key|unique) constraint/;

# What went wrong but for that
sub trouble
{
	my ($out) = @_;
	return join("\n", grep { !/$quarrel/ } $out =~ /^ERROR: .*/mg);
}

sub chance { return rand() < $_[0] }
sub pick { return $_[ rand @_ ] }
sub key { return 'k' . (1 + int(rand($keys))) }

# Of nodes: a list of [name, connection string, name of the hub above, source that is
# linked to it, source of its own tables], the first hub first.
sub new
{
	my ($class, @nodes) = @_;
	my $self = bless { entities => [ @entities ], order => [ map { $_->[0] } @nodes ], root => $nodes[0][0], written => 0, cut => {}, grown => {},
		seen => { map { $_ => 0 } qw(edits exchanges pushed pulled conflicts failed) } }, $class;

	for (@nodes)
	{
		my ($name, $connstr, $up, $source, $own) = @$_;

		$self->{node}{$name} = { up => $up, source => $source, own => $own, connstr => $connstr,
			editor => Session->new($connstr), carrier => Session->new($connstr) };
	}
	$self->{on_delete} = { player => 'CASCADE', room => pick('CASCADE', 'SET NULL', 'NO ACTION'), part => pick('CASCADE', 'SET NULL', 'NO ACTION') };
	$self->{known} = { room => pick(qw(ignore restrict cascade)), chance(0.5) ? (part => pick(qw(ignore restrict cascade))) : () };
	note('foreign keys: ' . join(', ', map { "$_ $self->{on_delete}{$_}" } sort keys %{ $self->{on_delete} }) .
		'; references: ' . join(', ', map { "$_ $self->{known}{$_}" } sort keys %{ $self->{known} }));
	$self->make_node($_) for @{ $self->{order} };
	return $self;
}

sub sql
{
	my ($self, $name, $sql) = @_;
	return $self->{node}{$name}{editor}->query($sql);
}

sub hubs { my ($self) = @_; return grep { $self->{node}{$_}{own} } @{ $self->{order} } }
sub leaves_of { my ($self, $hub) = @_; return grep { ($self->{node}{$_}{up} // '') eq $hub } @{ $self->{order} } }

# ---------- the nodes ----------

sub tables
{
	my ($self) = @_;
	my %on_delete = (%{ $self->{on_delete} }, loan => pick('CASCADE', 'SET NULL', 'NO ACTION'));
	# values can be swapped in one statement only where this is looked at when it ends
	my $unique = chance(0.5) ? 'UNIQUE' : 'UNIQUE DEFERRABLE';

	return join("\n", (map { "CREATE TABLE $_ (id text PRIMARY KEY, a text, b text, c text);" } @flat),
		'CREATE TABLE member (id text PRIMARY KEY);',
		(map { "CREATE TABLE $_ (id text PRIMARY KEY, a text);" } qw(team house)),
		(map { "CREATE TABLE $_ (id text PRIMARY KEY, $reference{$_} text REFERENCES $parent{$_} ON DELETE $on_delete{$_} ON UPDATE CASCADE, a text);" }
			qw(player loan room part)),
		"CREATE TABLE place (id text PRIMARY KEY, pos int $unique, a text);") . "\n";
}

# Who wrote: the user, the extension, or (null) the test that loses rows.
my $audit = q(
	CREATE TABLE audit (seq bigserial, entity text, id text, by_user bool, old jsonb, new jsonb);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		by_user bool := CASE WHEN current_setting('test.lost', true) = 'on' THEN NULL
			ELSE coalesce(current_setting('syncext.inbound', true), '') = '' END;
	BEGIN
		IF TG_OP = 'UPDATE' AND OLD.id = NEW.id THEN
			INSERT INTO public.audit (entity, id, by_user, old, new) VALUES (TG_TABLE_NAME, OLD.id, by_user, to_jsonb(OLD) - 'id', to_jsonb(NEW) - 'id');
			RETURN NULL;
		END IF;
		IF TG_OP <> 'INSERT' THEN
			INSERT INTO public.audit (entity, id, by_user, old) VALUES (TG_TABLE_NAME, OLD.id, by_user, to_jsonb(OLD) - 'id');
		END IF;
		IF TG_OP <> 'DELETE' THEN
			INSERT INTO public.audit (entity, id, by_user, new) VALUES (TG_TABLE_NAME, NEW.id, by_user, to_jsonb(NEW) - 'id');
		END IF;
		RETURN NULL;
	END $$;
) . join("\n", map { "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON $_ FOR EACH ROW EXECUTE FUNCTION note();" } grep { $_ ne 'member' } @entities);

sub make_node
{
	my ($self, $name) = @_;
	my $node = $self->{node}{$name};

	$self->sql($name, 'CREATE EXTENSION syncext; ' . $self->tables . $audit);
	$self->make_hub($name) if $node->{own};
	if ($node->{up} && !$node->{own})
	{
		$self->sql($name, "SELECT sync_add_source('$node->{source}')");
		$self->sql($name, "SELECT sync_add_entity('$_')") for @entities;
	}
	$self->sql($node->{up}, "UPDATE syncext.source SET relay = true WHERE name = '$node->{source}'") if $node->{up} && $node->{own};
	$self->make_link($name) if $node->{up};
	$self->sql($name, "SELECT sync_attach('$_', '" . ($node->{own} // $node->{source}) . "', '$_')") for @entities;
}

# Who is ranked, and how, differs from hub to hub and from field to field.
sub make_hub
{
	my ($self, $name) = @_;
	my $node = $self->{node}{$name};
	my @sources = ((map { $self->{node}{$_}{source} } $self->leaves_of($name)), $node->{up} ? $node->{source} : (), $node->{own});

	$self->sql($name, "SELECT sync_add_source('$_')") for @sources, 'Office';
	$self->sql($name, "SELECT sync_add_entity('$_'" . ($ladder{$_} ? ", '$ladder{$_}'" : '') . ')') for @entities;
	for my $entity (qw(customer price))
	{
		for my $source (@sources)
		{
			$self->sql($name, "INSERT INTO syncext.source_priority VALUES ('$source', '$entity', '$_', " . (1 + int(rand(3))) . ')')
				for grep { chance(0.6) } @fields, '*';
		}
	}
	$self->sql($name, "SELECT sync_add_reference('$_', '$reference{$_}', '$parent{$_}', '$self->{known}{$_}')") for sort keys %{ $self->{known} };
}

# Its worker rests: exchanges are made by who carries.
sub make_link
{
	my ($self, $name) = @_;
	my $node = $self->{node}{$name};
	my $relay = $node->{own} ? 'true' : 'false';
	my %to = $self->{node}{ $node->{up} }{connstr} =~ /(\w+)='?([^' ]+)'?/g;

	$self->sql($name, qq(
		CREATE EXTENSION dblink;
		CREATE SERVER hub FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host '$to{host}', port '$to{port}', dbname '$to{dbname}');
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub;
		BEGIN;
		SELECT sync_link('up', 'hub', '$node->{source}', relay => $relay);
		UPDATE syncext.link SET enabled = false;
		COMMIT));
}

# ---------- edits ----------

sub value { my ($self, $name) = @_; return sprintf("'%s%d'", $name, ++$self->{written}) }

sub edit_flat
{
	my ($self, $name) = @_;
	my ($entity, $id, $dice) = (pick(@flat), key(), rand);
	my $insert = sub { my ($nulls) = @_; return "INSERT INTO $entity VALUES ('$id', " . join(', ', map { chance($nulls) ? 'NULL' : $self->value($name) } @fields) . ') ON CONFLICT DO NOTHING' };

	return "INSERT INTO $entity VALUES ('$id') ON CONFLICT DO NOTHING" if $dice < 0.05;
	return $insert->(0.15) if $dice < 0.28;
	return "DELETE FROM $entity WHERE id = '$id'" if $dice < 0.4;
	# all at once, gone and back
	return "DELETE FROM $entity WHERE id = '$id'; " . $insert->(0) if $dice < 0.45;
	my @some = grep { chance(0.45) } @fields, $entity eq 'customer' && $self->{grown}{$name} ? 'd' : ();
	@some = pick(@fields) unless @some;
	return "UPDATE $entity SET " . join(', ', map { "$_ = " . (chance(0.08) ? 'NULL' : $self->value($name)) } @some) . " WHERE id = '$id'";
}

sub edit_member
{
	my ($self, $name) = @_;
	my $id = key();
	return chance(0.5) ? "INSERT INTO member VALUES ('$id') ON CONFLICT DO NOTHING" : "DELETE FROM member WHERE id = '$id'";
}

# Parents: they come, are edited, go, and get other keys.
sub edit_parent
{
	my ($self, $name) = @_;
	my ($entity, $id, $other, $dice) = (pick(qw(team house)), key(), key(), rand);

	return "INSERT INTO $entity VALUES ('$id', " . $self->value($name) . ') ON CONFLICT DO NOTHING' if $dice < 0.4;
	return "UPDATE $entity SET a = " . $self->value($name) . " WHERE id = '$id'" if $dice < 0.6;
	return "UPDATE $entity SET id = '$other' WHERE id = '$id' AND NOT EXISTS (SELECT FROM $entity WHERE id = '$other')" if $dice < 0.75;
	return "DELETE FROM $entity WHERE id = '$id'";
}

sub edit_child
{
	my ($self, $name) = @_;
	my ($entity, $id, $dice) = (pick(qw(player loan room part part)), key(), rand);
	my $up = "SELECT id FROM $parent{$entity} WHERE id = '" . key() . "'" . ($entity eq 'part' ? " AND id > '$id'" : '');

	return "INSERT INTO $entity VALUES ('$id', ($up), " . $self->value($name) . ') ON CONFLICT DO NOTHING' if $dice < 0.35;
	return "UPDATE $entity SET a = " . $self->value($name) . " WHERE id = '$id'" if $dice < 0.6;
	return "UPDATE $entity SET $reference{$entity} = ($up) WHERE id = '$id'" if $dice < 0.85;
	return "DELETE FROM $entity WHERE id = '$id'";
}

# Values that are handed on, and round in circles
sub edit_place
{
	my ($self, $name) = @_;
	my ($id, $other, $dice) = (key(), key(), rand);
	my $aside = 'UPDATE place SET pos = pos + 1000';

	return "INSERT INTO place VALUES ('$id', (SELECT coalesce(max(pos), 0) + 1 FROM place), " . $self->value($name) . ') ON CONFLICT (id) DO NOTHING' if $dice < 0.4;
	return "UPDATE place SET a = " . $self->value($name) . " WHERE id = '$id'" if $dice < 0.55;
	return "$aside; UPDATE place SET pos = pos - 999" if $dice < 0.65;
	return "$aside; UPDATE place SET pos = (SELECT max(pos) FROM place) - pos + 1" if $dice < 0.7;
	return "$aside WHERE id IN ('$id', '$other'); UPDATE place p SET pos = (SELECT q.pos - 1000 FROM place q WHERE q.id = CASE p.id WHEN '$id' THEN '$other' ELSE '$id' END)
		WHERE id IN ('$id', '$other') AND 2 = (SELECT count(*) FROM place WHERE id IN ('$id', '$other')); UPDATE place SET pos = pos - 1000 WHERE pos > 1000" if $dice < 0.85;
	return "DELETE FROM place WHERE id = '$id'";
}

sub statement
{
	my ($self, $name) = @_;
	my $dice = rand;

	return $self->edit_flat($name) if $dice < 0.5;
	return $self->edit_member($name) if $dice < 0.57;
	return $self->edit_parent($name) if $dice < 0.7;
	return $self->edit_child($name) if $dice < 0.9;
	return $self->edit_place($name);
}

sub transaction
{
	my ($self, $name) = @_;
	my $sql = 'BEGIN';

	for (1 .. 1 + int(rand(3)))
	{
		$sql .= '; ' . $self->statement($name);
		$sql .= '; SAVEPOINT s; ' . $self->statement($name) . '; ROLLBACK TO s' if chance(0.2);
		$sql .= '; SAVEPOINT t; ' . $self->statement($name) . '; RELEASE t' if chance(0.2);
	}
	return $sql . (chance(0.1) ? '; ROLLBACK' : '; COMMIT');
}

# What nobody edits: a column is added.
sub grow
{
	my ($self, $name) = @_;

	$self->sql($name, "ALTER TABLE customer ADD d text DEFAULT 'new'");
	$self->{grown}{$name} = 1;
}

# Lose a row; who holds it keeps it.
sub lose
{
	my ($self, $name) = @_;
	my ($entity, $id) = (pick(@entities), key());
	my $editor = $self->{node}{$name}{editor};

	$editor->send("SET syncext.inbound = 'on'; SET test.lost = 'on'; DELETE FROM $entity WHERE id = '$id'; RESET syncext.inbound; RESET test.lost");
	my ($out) = $editor->answer;
	die "$name: $out\n" if trouble($out);
	$self->sql($name, 'RESET syncext.inbound; RESET test.lost');
}

# ---------- exchanging ----------

sub carry
{
	my ($self, $name) = @_;
	my $node = $self->{node}{$name};

	$node->{carrier}->send(join('; ', $node->{up} ? "CALL sync_exchange('up')" : (),
		$node->{own} ? "SELECT jsonb_build_object('pulled', sync_deliver('$node->{own}'))" : ()));
}

# Takes the answer of who was told to carry; returns how much it moved.
sub carried
{
	my ($self, $name) = @_;
	my ($out, $error) = $self->{node}{$name}{carrier}->answer;
	my $n = 0;

	# the hub's users may hold what a push needs
	die "$name: $out\n" if trouble($out);
	return 1 if $error ne '';
	for (split /\n/, $out)
	{
		my $result = JSON::PP::decode_json($_);
		$self->{seen}{exchanges}++;
		$self->{seen}{$_} += $result->{$_} // 0 for qw(pushed pulled conflicts failed);
		$n += $result->{$_} // 0 for qw(pushed pulled failed rejected);
	}
	return $n;
}

# All at once, for so many rounds, while links are cut and mended.
sub storm
{
	my ($self, $rounds) = @_;
	my @nodes = @{ $self->{order} };
	my $cut = $self->{cut};

	for (1 .. $rounds)
	{
		my @editing = grep { chance(0.8) } @nodes;
		my @carrying = grep { !$cut->{$_} && chance(0.5) } @nodes;

		$self->carry($_) for @carrying;
		$self->{node}{$_}{editor}->send($self->transaction($_)) for @editing;
		for my $name (@editing)
		{
			my ($out, $error) = $self->{node}{$name}{editor}->answer;

			die "$name: $out\n" if trouble($out);
			$self->{seen}{edits}++;
			$self->sql($name, 'ROLLBACK') if $error ne '';
		}
		$self->carried($_) for @carrying;
		for (grep { $self->{node}{$_}{up} } @nodes)
		{
			$cut->{$_}-- if $cut->{$_};
			$cut->{$_} = 3 + int(rand(12)) if !$cut->{$_} && chance(0.08);
		}
		for my $name (@nodes)
		{
			$self->grow($name) if !$self->{grown}{$name} && chance(0.03);
			$self->lose($name) if chance(0.04);
		}
		# a reviewer decides some of the conflicts meanwhile
		$self->decide(pick($self->hubs), 1) if chance(0.1);
	}
}

# Decide pending conflicts; returns how many.
sub decide
{
	my ($self, $name, $max) = @_;
	my $n = 0;

	for (split /\n/, $self->sql($name, "SELECT id FROM syncext.conflict_log WHERE status = 'pending' ORDER BY random() LIMIT $max"))
	{
		my $decision = pick(qw(incoming canonical dismiss));
		# what is decided may close another one
		$n += $self->sql($name, "SELECT count(sync_resolve(id, '$decision')) FROM syncext.conflict_log WHERE id = $_ AND status = 'pending'");
	}
	return $n;
}

# Nothing fails or waits for a later attempt.
my $due = "SELECT (SELECT count(*) FROM syncext.pending WHERE next_attempt IS NOT NULL)
	+ (SELECT count(*) FROM syncext.capture_failure WHERE next_attempt IS NOT NULL)
	+ (SELECT count(*) FROM syncext.waiting WHERE next_attempt IS NOT NULL)";

my $waiting_for = "SELECT jsonb_agg(to_jsonb(x)) FROM (SELECT to_jsonb(p) FROM syncext.pending p WHERE next_attempt IS NOT NULL UNION ALL SELECT to_jsonb(w) FROM syncext.waiting w
	UNION ALL SELECT to_jsonb(f) FROM syncext.capture_failure f WHERE next_attempt IS NOT NULL) x";

# Exchange until nothing moves any more; returns in how many rounds something did,
# undef if there is no end to it.
sub settle
{
	my ($self) = @_;
	my ($moved, $quiet) = (0, 0);

	for (1 .. 150)
	{
		my ($n, $waits) = (0, 0);
		my %of;

		for my $name (@{ $self->{order} })
		{
			$self->carry($name);
			$n += $of{$name} = $self->carried($name);
		}
		$waits += $self->sql($_, $due) for @{ $self->{order} };
		diag("still moving: $waits wait; " . join(', ', map { "$_ $of{$_} " . $self->sql($_, $waiting_for) } sort keys %of)) if $_ == 150;
		$moved++ if $n > 0;
		$quiet = $n == 0 && $waits == 0 ? $quiet + 1 : 0;
		return $moved if $quiet == 2;
		sleep(0.1) if $n == 0 && $waits > 0;
	}
	return undef;
}

# ---------- who holds what ----------

sub rows
{
	my ($self, $name) = @_;
	return { map { my ($key, $row) = split /\t/, $_, 2; $key => $row } split /\n/,
		$self->sql($name, join(' UNION ALL ', map { "SELECT '$_ ' || id || E'\\t' || jsonb_strip_nulls(to_jsonb(t) - 'id') FROM $_ t" } @{ $self->{entities} })) };
}

sub records
{
	my ($self, $name) = @_;
	return { map { my ($key, $row) = split /\t/, $_, 2; $key => $row } split /\n/,
		$self->sql($name, "SELECT entity || ' ' || external_id || E'\\t' || jsonb_strip_nulls(fields) FROM syncext.canonical WHERE NOT deleted") };
}

# What is here and not there, or otherwise.
sub differing
{
	my ($here, $there) = @_;
	my %all = (%$here, %$there);
	return grep { ($here->{$_} // 'none') ne ($there->{$_} // 'none') } sort keys %all;
}

# Records that are told not to have come to a node, or to the hubs above it.
sub told_of
{
	my ($self, $name) = @_;
	my $node = $self->{node}{$name};
	my $failed = "SELECT b.entity || ' ' || f.external_id FROM syncext.capture_failure f JOIN syncext.binding b USING (relation)";
	my %told = map { $_ => 1 } split /\n/, $self->sql($name, $failed);

	for (my ($hub, $target) = ($node->{own} ? ($name, $node->{own}) : ($node->{up}, $node->{source})); $hub; )
	{
		my @late = split /\n/, $self->sql($hub, "SELECT entity || ' ' || external_id FROM syncext.dead_letter WHERE source = '$target'");

		$told{$_} = 1 for @late, split /\n/, $self->sql($hub, "SELECT entity || ' ' || external_id FROM syncext.conflict_log WHERE status = 'pending'");
		ok($self->sql($hub, "SELECT count(*) FROM sync_check() WHERE object = 'source $target'") > 0, "sync_check tells of what $target lacks") if @late;
		($hub, $target) = $hub eq $name && $node->{own} && $target eq $node->{own} ? ($node->{up}, $node->{source}) :
			@{ $self->{node}{$hub} }{qw(up source)};
	}
	return \%told;
}

# Where a node differs, and nobody tells.
sub untold_differences
{
	my ($self) = @_;
	my $truth = $self->records($self->{root});
	my @silent;

	for my $name (@{ $self->{order} })
	{
		my $rows = $self->rows($name);
		my $told = $self->told_of($name);

		push @silent, map { "$name: $_ is " . ($rows->{$_} // 'none') . ', not ' . ($truth->{$_} // 'none') }
			grep { !$told->{$_} } differing($rows, $truth);
	}
	return @silent;
}

# As an administrator does where foreign keys and unique values can't hold what the
# records say: children whose parent is gone, values that two nodes gave out at once.
# Returns how many records that were.
sub mend
{
	my ($self) = @_;
	my $hub = $self->{root};
	my $n = 0;
	my $apply = q(SELECT count(sync_apply(jsonb_build_object('source', 'Office', 'entity', entity, 'externalId', external_id, 'base', row_version,
		'updatedAt', clock_timestamp(), 'fields', jsonb_build_object('%s', %s)))) FROM (%s) x);

	for (sort keys %reference)
	{
		$n += $self->sql($hub, sprintf($apply, $reference{$_}, 'NULL', "SELECT * FROM syncext.canonical c WHERE entity = '$_' AND NOT deleted AND fields->>'$reference{$_}' IS NOT NULL
			AND NOT EXISTS (SELECT FROM syncext.canonical p WHERE p.entity = '$parent{$_}' AND p.external_id = c.fields->>'$reference{$_}' AND NOT p.deleted)"));
	}
	$n += $self->sql($hub, sprintf($apply, 'pos', '10000 + row_version * 100 + substr(external_id, 2)::int', q(SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY fields->>'pos' ORDER BY external_id) AS nth
		FROM syncext.canonical WHERE entity = 'place' AND NOT deleted AND fields->>'pos' IS NOT NULL) y WHERE nth > 1)));
	for my $name (@{ $self->{order} })
	{
		$self->sql($name, 'SELECT sync_redrive(name) FROM syncext.source');
	}
	return $n;
}

# ---------- what was lost ----------

# Values that a node's user wrote last, and that the extension wrote over, or a
# user's deletes that it took back.
my $overwritten = q(
	SELECT f.entity, f.id, f.field, f.value FROM (
		SELECT n.entity, n.id, k.field, w.seq, w.by_user, w.new->>k.field AS value,
			lead(w.by_user) OVER row AS next_by_user, lead(w.new->>k.field) OVER row AS next_value
		FROM (SELECT DISTINCT entity, id FROM audit) n
		CROSS JOIN (VALUES ('a'), ('b'), ('c'), ('d'), ('team'), ('house'), ('up'), ('pos')) k(field)
		JOIN audit w ON w.entity = n.entity AND w.id = n.id
			AND (w.old IS NULL OR w.new IS NULL OR w.old->>k.field IS DISTINCT FROM w.new->>k.field)
		WINDOW row AS (PARTITION BY n.entity, n.id, k.field ORDER BY w.seq)) f
	WHERE f.by_user AND NOT f.next_by_user AND f.value IS NOT NULL AND f.next_value IS DISTINCT FROM f.value
		-- what a new column was filled with
		AND NOT (f.field = 'd' AND f.value = 'new'));
my $undone = q(
	SELECT entity, id, old FROM (
		SELECT entity, id, by_user, old, new, lead(by_user) OVER row AS next_by_user, lead(new) OVER row AS next
		FROM audit WINDOW row AS (PARTITION BY entity, id ORDER BY seq)) d
	WHERE by_user AND new IS NULL AND NOT next_by_user AND next IS NOT NULL);

# What the log tells of: values of fields, and records that were deleted.
sub told
{
	my ($self, $name) = @_;
	return { map { $_ => 1 } split /\n/, $self->sql($name, "
		SELECT entity, external_id, f.key, f.value FROM syncext.change_log, jsonb_each_text(fields) f
		UNION SELECT entity, external_id, f.key, f.value FROM syncext.conflict_log, jsonb_each_text(incoming) f
		UNION SELECT entity, external_id, 'deleted', '' FROM syncext.change_log WHERE detail->>'deleted' = 'true'
		UNION SELECT entity, external_id, 'deleted', '' FROM syncext.conflict_log WHERE incoming_deleted") };
}

# Returns how many edits stand nowhere, and which of them nobody tells of.
sub lost
{
	my ($self) = @_;
	my %standing = map { $_ => 1 } split /\n/, $self->sql($self->{root}, 'SELECT entity, external_id, f.key, f.value
		FROM syncext.canonical, jsonb_each_text(fields) f WHERE NOT deleted');
	my %told = map { $_ => $self->told($_) } $self->hubs;
	my ($lost, @untold) = (0);

	for my $name (@{ $self->{order} })
	{
		# a hub decides what comes from its own tables
		my $log = $told{ $self->{node}{$name}{own} ? $name : $self->{node}{$name}{up} };

		for (grep { !$standing{$_} } split /\n/, $self->sql($name, $overwritten))
		{
			$lost++;
			push @untold, "$name: $_" unless $log->{$_};
		}
		for (split /\n/, $self->sql($name, $undone))
		{
			my ($entity, $id, $old) = split /\|/, $_, 3;
			my $fields = JSON::PP::decode_json($old);
			# a row that never came further is its user's own
			my $known = grep { defined $fields->{$_} && $log->{"$entity|$id|$_|$fields->{$_}"} } @fields;

			$lost++;
			push @untold, "$name: a delete of $_" if $known && !$log->{"$entity|$id|deleted|"};
		}
	}
	return ($lost, @untold);
}

# Records as a hub's log tells of them: each change was written, but for what it lost.
sub accounted
{
	my ($self, $name) = @_;
	my %record;
	my $log = $self->sql($name, q(SELECT jsonb_build_array(l.entity || ' ' || l.external_id, l.resolution, l.fields, l.detail, c.incoming_detail)
		FROM syncext.change_log l LEFT JOIN syncext.conflict_log c ON c.id = (l.detail->>'conflictId')::bigint ORDER BY l.seq));

	for (split /\n/, $log)
	{
		my ($key, $resolution, $fields, $detail, $conflict) = @{ JSON::PP::decode_json($_) };
		my %lost = map { $_ => 1 } @{ $detail->{lost} // [] };
		my $birth = $detail->{created} || defined $detail->{base} && $detail->{base} == 0 || $conflict->{created};

		next if $lost{'*'} || $resolution =~ /^(?:MANUAL|KEEP|DEPENDENCY_WAIT|RESTRICTED|DISMISSED|SUPERSEDED)$/ || ($detail->{decision} // '') =~ /canonical|dismiss/;
		my $record = $record{$key} //= { fields => {} };
		if ($detail->{deleted}) { $record->{deleted} = 1; next }
		$record->{fields} = {} if $record->{deleted} && $birth;
		$record->{deleted} = 0;
		for (grep { !$lost{$_} && !($birth && !defined $fields->{$_}) } keys %$fields)
		{
			$record->{fields}{$_} = $fields->{$_};
			delete $record->{fields}{$_} unless defined $fields->{$_};
		}
	}
	return { map { $_ => JSON::PP->new->canonical->encode($record{$_}{fields}) } grep { !$record{$_}{deleted} } keys %record };
}

# ---------- judging ----------

# Everything is decided, mended and exchanged, until there is nothing to do.
sub heal
{
	my ($self) = @_;
	my ($reviews, $decided, $mended) = (0, 0, 0);

	for (1 .. 20)
	{
		my $n = 0;

		$n += $self->decide($_, 1000) for $self->hubs;
		my $m = $self->mend;
		last if $n + $m == 0 && $reviews > 0;
		$reviews++;
		$decided += $n;
		$mended += $m;
		my $after = $self->settle;
		ok(defined $after && $after <= 20, "and so it does when conflicts are decided ($n) and records mended ($m)") or diag($after // 'no end');
	}
	return ($reviews, $decided, $mended);
}

sub judge
{
	my ($self) = @_;
	my $healed = $self->settle;

	ok(defined $healed, 'after healing it comes to rest');
	cmp_ok($healed // 999, '<=', 30, 'in a number of rounds that is bounded');
	$self->grow($_) for grep { !$self->{grown}{$_} } @{ $self->{order} };
	for my $name (@{ $self->{order} })
	{
		$self->sql($name, "CALL sync_load('$_'" . (chance(0.3) ? ", 'hub'" : '') . ')') for 'customer', grep { chance(0.2) } @entities;
	}
	ok(defined $self->settle, 'and so it does when columns are filled, and tables loaded');
	for my $hub ($self->hubs)
	{
		$self->sql($hub, "SELECT sync_resync('$_')") for (map { $self->{node}{$_}{source} } $self->leaves_of($hub)), $self->{node}{$hub}{own};
		ok(defined $self->settle, "and when all records of the $hub have come again");
	}
	is(join("\n", $self->untold_differences), '', 'where a node differs, it is told');
	my ($reviews, $decided, $mended) = $self->heal;
	is($self->sql($_, "SELECT count(*) FROM syncext.conflict_log WHERE status = 'pending'"), 0, "no conflict is pending at the $_") for $self->hubs;

	my $truth = $self->records($self->{root});
	for my $name (@{ $self->{order} })
	{
		my ($rows, $records) = ($self->rows($name), $self->records($name));

		is(join("\n", map { "$_ is " . ($rows->{$_} // 'none') . ', not ' . ($truth->{$_} // 'none') } differing($rows, $truth)), '', "$name holds the first hub's records");
		is(join("\n", map { "$_ is " . ($records->{$_} // 'none') . ', not ' . ($truth->{$_} // 'none') } differing($records, $truth)), '', "and so do the records of the $name") if $self->{node}{$name}{own};
		is($self->sql($name, "SELECT string_agg(concat_ws(' ', kind, source, entity, external_id, error), E'\\n') FROM syncext.dead_letter"), '', "no record is dead at $name");
	}
	cmp_ok(scalar(keys %$truth), '>', 10, 'and there are some');
	my $account = $self->accounted($self->{root});
	$_ = JSON::PP->new->canonical->encode(JSON::PP::decode_json($_)) for values %$truth;
	is(join("\n", map { "$_ is " . ($truth->{$_} // 'none') . ', not ' . ($account->{$_} // 'none') } differing($truth, $account)), '', 'the records are what their log says');

	my ($lost, @untold) = $self->lost;
	is(join("\n", @untold), '', "every edit that stands nowhere is told of by who decided ($lost)");
	note(sprintf('%d transactions, %d exchanges: pushed %d, pulled %d, conflicts %d, failed or busy %d; healed in %d rounds; %d decided and %d mended in %d reviews; %d edits written over by others',
		@{ $self->{seen} }{qw(edits exchanges pushed pulled conflicts failed)}, $healed // -1, $decided, $mended, $reviews, $lost));
	cmp_ok($self->{seen}{conflicts}, '>', 0, 'there were conflicts');
	cmp_ok($lost, '>', 0, 'and edits that stand nowhere');
}

sub quit
{
	my ($self) = @_;
	for (values %{ $self->{node} }) { $_->{editor}->quit; $_->{carrier}->quit }
}

1;
