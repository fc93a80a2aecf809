# FieldLadder.pm
#	  The field ladder once more: a model of a hub, made from the rules as they are
#	  written down and not from the code, to compare the code with.
#
# It keeps every change that came and works everything out of all of them, each time
# anew: what it says can't depend on their order.  A hub knows a configuration (ladder,
# deletes, priority) and holds records; apply() takes a change document, as Json.pm reads
# it, and returns the answer.

package FieldLadder;

use strict;
use warnings;

use List::Util qw(any);
use Json;
use Ladder;

sub new
{
	my ($class, %config) = @_;

	return bless { entity => 'record', %config, records => {} }, $class;
}

sub has
{
	my ($hub, $rung) = @_;
	return any { $_ eq $rung } @{ $hub->{ladder} };
}

# ---------- values ----------

# The text that jsonb has for a value, by which values are ordered.
sub jsonb_text
{
	my ($value) = @_;
	my $order = sub { length($_[0]) <=> length($_[1]) || $_[0] cmp $_[1] };

	return '[' . join(', ', map { jsonb_text($_) } @$value) . ']' if ref($value) eq 'ARRAY';
	return $value unless ref($value);
	return '{' . join(', ', map { Json::quote($_) . ': ' . jsonb_text($value->{$_}) } sort { $order->($a, $b) } keys %$value) . '}';
}

# ---------- stamps ----------

# A stamp is a list of numbers, as many as the ladder makes it of.
sub stamp
{
	my ($hub, $version, $at) = @_;
	return [ ($hub->has('version') ? ($version) : ()), ($hub->has('latest') ? ($at) : ()) ];
}

sub compare
{
	my ($x, $y) = @_;

	return defined $x <=> defined $y unless defined $x && defined $y;
	for my $i (0 .. $#$x)
	{
		my $cmp = $x->[$i] <=> $y->[$i];
		return $cmp if $cmp;
	}
	return 0;
}

sub greatest
{
	my $greatest;

	for my $stamp (@_)
	{
		$greatest = $stamp if compare($stamp, $greatest) > 0;
	}
	return $greatest;
}

sub read_change
{
	my ($hub, $document) = @_;
	my $is = sub { return defined $document->{ $_[0] } && $document->{ $_[0] } eq 'true' };
	my $time = sub { return defined $_[0] && $_[0] ne 'null' ? Ladder::microseconds(Json::string_of($_[0])) : undef };
	my %change = (id => Json::string_of($document->{externalId}), source => Json::string_of($document->{source}),
		version => $document->{version}, at => $time->($document->{updatedAt}), ifMatch => $document->{ifMatch},
		deleted => $is->('deleted') ? 1 : 0, birth => $is->('created') ? 1 : 0,
		fields => { %{ $document->{fields} // {} } });
	my $known = $document->{known};

	$change{stamp} = $hub->stamp($change{version}, $change{at});
	$change{known} = $hub->stamp($known->{version}, $time->($known->{updatedAt})) if defined $known;
	if ($change{birth})
	{
		delete @{ $change{fields} }{ grep { !ref $change{fields}{$_} && $change{fields}{$_} eq 'null' } keys %{ $change{fields} } };
	}
	return \%change;
}

# ---------- what all changes come to ----------

sub compare_keys
{
	my ($hub, $x, $y, $field) = @_;
	my $cmp = compare($x->{stamp}, $y->{stamp});

	$cmp ||= Ladder::rank($hub, $y->{source}, $field) <=> Ladder::rank($hub, $x->{source}, $field) if $hub->has('priority');
	return $cmp || $x->{source} cmp $y->{source} || jsonb_text($x->{fields}{$field}) cmp jsonb_text($y->{fields}{$field});
}

sub is_there
{
	my ($hub, $r) = @_;

	return compare($r->{lived}, $r->{died}) > 0 if $hub->{deletes} eq 'latest';
	return defined $r->{died} ? compare($r->{born}, $r->{died}) > 0 : defined $r->{lived} if $hub->{deletes} eq 'delete_wins';
	return compare($r->{lived}, $r->{seen}) > 0;
}

# The change of the greatest stamp, of several that of the greatest name and time.
sub last_change
{
	my (@changes) = @_;
	my ($last) = sort { compare($b->{stamp}, $a->{stamp}) || $b->{source} cmp $a->{source} || ($b->{at} // -1e18) <=> ($a->{at} // -1e18) } @changes;

	return $last;
}

# The record that some changes come to.
sub record
{
	my ($hub, @changes) = @_;
	my @live = grep { !$_->{deleted} } @changes;
	my @deletes = grep { $_->{deleted} } @changes;
	my @births = grep { $_->{birth} } @changes;
	my %r = (lived => greatest(map { $_->{stamp} } @live), died => greatest(map { $_->{stamp} } @deletes),
		cut => greatest(map { $_->{known} } @births), born => greatest(map { $_->{stamp} } @births),
		seen => greatest(map { $_->{known} } @deletes), last => last_change(@changes), register => {});

	for my $change (@live)
	{
		for my $field (keys %{ $change->{fields} })
		{
			next unless compare($change->{stamp}, $r{cut}) > 0;
			my $standing = $r{register}{$field};
			$r{register}{$field} = $change if !$standing || $hub->compare_keys($change, $standing, $field) > 0;
		}
	}
	$r{there} = $hub->is_there(\%r);
	return \%r;
}

# What can be seen of it: text by field, or nothing.
sub seen_fields
{
	my ($r) = @_;
	return {} unless $r && $r->{there};
	return { map { $_ => Json::text($r->{register}{$_}{fields}{$_}) } keys %{ $r->{register} } };
}

sub kept_fields
{
	my ($r) = @_;
	return { map { $_ => Json::text($r->{register}{$_}{fields}{$_}) } keys %{ $r->{register} } };
}

# ---------- one change ----------

# Which of a live record's fields have another value, or are gone.
sub changed_fields
{
	my ($before, $after, $change) = @_;
	my ($was, $is) = (kept_fields($before), seen_fields($after));

	return () unless $after->{there};
	if ($before->{there})
	{
		my %all = (%$was, %$is);
		return grep { !defined $was->{$_} || !defined $is->{$_} || $was->{$_} ne $is->{$_} } keys %all;
	}
	# of a tombstone: its own fields, as far as they stand
	return grep { $after->{register}{$_} && $after->{register}{$_} == $change && ($change->{birth} || !defined $was->{$_} || $was->{$_} ne $is->{$_}) }
		keys %{ $change->{fields} };
}

sub same_key
{
	my ($hub, $x, $y, $field) = @_;
	return $x && $y && $hub->compare_keys($x, $y, $field) == 0;
}

# Has a stamp moved: of a field, or one of the four?
sub moved
{
	my ($hub, $before, $after) = @_;
	my @four = qw(lived died cut);

	push @four, 'born' if $hub->{deletes} eq 'delete_wins';
	push @four, 'seen' if $hub->{deletes} eq 'edit_wins';
	return 1 if any { compare($before->{$_}, $after->{$_}) } @four;
	my %all = (%{ $before->{register} }, %{ $after->{register} });
	return any { !$hub->same_key($before->{register}{$_}, $after->{register}{$_}, $_) } keys %all;
}

sub decide
{
	my ($hub, $standing, $change) = @_;
	my $before = $hub->record(@{ $standing->{changes} });
	my $after = $hub->record(@{ $standing->{changes} }, $change);
	my $now = seen_fields($after);
	my $kept = kept_fields($after);
	my @fields = keys %{ $change->{fields} };
	my @stand = grep { $hub->same_key($after->{register}{$_}, $change, $_) } @fields;
	my %stands = map { $_ => 1 } @stand;
	my @lost = sort grep { !$stands{$_} && (!defined $kept->{$_} || $kept->{$_} ne Json::text($change->{fields}{$_})) } @fields;
	my @changed = sort(changed_fields($before, $after, $change));
	my $moved = $hub->moved($before, $after);
	my $is_new = !@{ $standing->{changes} };
	my $visible = $is_new || $before->{there} != $after->{there} || @changed;
	# who says that it lives, or is gone, has it so
	my $contradicted = $moved && !$change->{deleted} != !!$after->{there};
	my $resolution = $is_new ? 'NEW_RECORD'
		: !$moved && !@lost ? 'NO_CHANGE'
		: $moved || @stand ? 'FIELD_WIN' : 'FIELD_SKIP';

	return { after => $after, status => 200, resolution => $resolution, changed => \@changed, lost => $resolution eq 'FIELD_SKIP' ? ['*'] : \@lost,
		told => $visible ? (@lost ? 'all' : 'others') : @lost || $contradicted ? 'origin' : 'none', visible => $visible };
}

# The record as it stands, with what an answer tells of it.
sub standing
{
	my ($hub, $id) = @_;
	return $hub->{records}{$id} // { changes => [], rowVersion => 0 };
}

# Apply a document; returns the answer.
sub apply
{
	my ($hub, $document) = @_;
	my $change = $hub->read_change($document);
	my $standing = $hub->standing($change->{id});
	my $outcome = { status => 412, resolution => 'PRECONDITION_FAILED', changed => [], lost => [], told => 'none' };

	unless (defined $change->{ifMatch} && $change->{ifMatch} != $standing->{rowVersion})
	{
		$outcome = $hub->decide($standing, $change);
		$standing->{rowVersion}++ if $outcome->{visible};
		push @{ $standing->{changes} }, $change;
		$hub->{records}{ $change->{id} } = $standing;
	}
	return { %$outcome, rowVersion => $standing->{rowVersion} || undef,
		%{ $hub->identity($standing) } };
}

# Version, time and source of a record: those of its last change.
sub identity
{
	my ($hub, $standing) = @_;

	return { version => undef, lastSource => undef, at => undef } unless @{ $standing->{changes} };
	my $last = last_change(@{ $standing->{changes} });
	return { version => $hub->has('version') ? $last->{version} : $standing->{rowVersion}, lastSource => $last->{source}, at => $last->{at} };
}

1;
