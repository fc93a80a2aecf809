# Ladder.pm
#	  The conflict ladder once more: a model of a hub, made from the rules as they
#	  are written down and not from the code, to compare the code with.
#
# It is slow and plain on purpose.  A hub knows a configuration (ladder, priority,
# singleWriters, fieldRules: rows entity, field, rule and perhaps a group) and holds records and conflicts; apply() takes a change
# document, as Json.pm reads it, and returns the answer.  Field values are texts.

package Ladder;

use strict;
use warnings;

use List::Util qw(max min first any all);
use Json;

my $entity = 'record';
my $nobody = 1e18;	# the rank of a source that has none

sub new
{
	my ($class, %config) = @_;

	return bless { %config, records => {}, conflicts => [] }, $class;
}

# ---------- configuration ----------

sub has
{
	my ($hub, $rung) = @_;
	return any { $_ eq $rung } @{ $hub->{ladder} };
}

sub last_rung { return $_[0]{ladder}[-1] }

sub is_single_writer
{
	my ($hub, $source) = @_;
	return any { $_ eq $source } @{ $hub->{singleWriters} };
}

# The most specific rank of a source for a field, '*' for the whole record.
sub rank
{
	my ($hub, $source, $field) = @_;
	my @places = ([ $entity, '*' ], [ '*', '*' ]);

	unshift @places, [ $entity, $field ], [ '*', $field ] if $field ne '*';
	for my $place (@places)
	{
		for my $row (@{ $hub->{priority} })
		{
			return $row->[3] if $row->[0] eq $source && $row->[1] eq $place->[0] && $row->[2] eq $place->[1];
		}
	}
	return $nobody;
}

sub rule_row
{
	my ($hub, $field) = @_;

	for my $place ($entity, '*')
	{
		for my $row (@{ $hub->{fieldRules} })
		{
			return $row if $row->[0] eq $place && $row->[1] eq $field;
		}
	}
	return [];
}

sub rule { return $_[0]->rule_row($_[1])->[2] }

# The group that a field belongs to, and the fields of one.
sub group { return $_[0]->has('merge') ? $_[0]->rule_row($_[1])->[3] : undef }

sub members
{
	my ($hub, $group) = @_;
	my %field = map { $_->[1] => 1 } @{ $hub->{fieldRules} };
	return grep { ($hub->group($_) // '') eq $group } sort keys %field;
}

# The best rank that a source has for any field of a group.
sub group_rank
{
	my ($hub, $source, $group) = @_;
	return min(map { $hub->rank($source, $_) } $hub->members($group));
}

# ---------- times ----------

# Days since 1970 of a date.
sub days
{
	my ($year, $month, $day) = @_;

	$year-- if $month <= 2;
	my $era = int(($year >= 0 ? $year : $year - 399) / 400);
	my $of_era = $year - $era * 400;
	my $of_year = int((153 * ($month + ($month > 2 ? -3 : 9)) + 2) / 5) + $day - 1;
	return $era * 146097 + $of_era * 365 + int($of_era / 4) - int($of_era / 100) + $of_year - 719468;
}

# Microseconds since 1970 of an RFC 3339 time.
sub microseconds
{
	my ($text) = @_;
	my ($year, $month, $day, $hour, $minute, $second, $part, $zone) =
		$text =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)(?:\.(\d+))?(Z|[-+]\d+:\d+)$/ or die "no time: $text\n";
	my $seconds = days($year, $month, $day) * 86400 + $hour * 3600 + $minute * 60 + $second;

	if ($zone =~ /^([-+])(\d+):(\d+)$/)
	{
		$seconds -= ($1 eq '-' ? -1 : 1) * ($2 * 3600 + $3 * 60);
	}
	return $seconds * 1_000_000 + substr(($part // '') . '000000', 0, 6);
}

# ---------- the change as it counts ----------

sub read_change
{
	my ($document) = @_;
	my $is = sub { return defined $document->{ $_[0] } && $document->{ $_[0] } eq 'true' };
	my %change = (
		id => Json::string_of($document->{externalId}),
		source => Json::string_of($document->{source}),
		version => $document->{version},
		base => $document->{base},
		ifMatch => $document->{ifMatch},
		at => defined $document->{updatedAt} ? microseconds(Json::string_of($document->{updatedAt})) : undef,
		deleted => $is->('deleted') ? 1 : 0,
		fields => { map { $_ => Json::text($document->{fields}{$_}) } keys %{ $document->{fields} // {} } });

	for my $number (qw(version base ifMatch))
	{
		# 1e1 and the like to plain numbers
		$change{$number} += 0 if defined $change{$number};
	}
	$change{birth} = $is->('created') || (defined $change{base} && $change{base} == 0 && !$change{deleted});
	if ($change{birth})
	{
		delete @{ $change{fields} }{ grep { $change{fields}{$_} eq 'null' } keys %{ $change{fields} } };
	}
	return \%change;
}

# What the change leaves out of the groups that it names a field of.
sub complete
{
	my ($hub, $change) = @_;
	my %group = map { $_ => 1 } grep { defined } map { $hub->group($_) } keys %{ $change->{fields} };

	$change->{groups} = [ sort keys %group ];
	$change->{implied} = [ grep { !exists $change->{fields}{$_} } map { $hub->members($_) } @{ $change->{groups} } ];
	$change->{won} = {};
}

# ---------- looking at a record beside a change ----------

sub differs
{
	my ($record, $change, $field) = @_;
	return !defined $record->{fields}{$field} || $record->{fields}{$field} ne $change->{fields}{$field};
}

# Does the change say anything new?
sub says_new
{
	my ($record, $change) = @_;
	return $change->{deleted} != $record->{deleted} || any { differs($record, $change, $_) } keys %{ $change->{fields} };
}

sub touches_delete
{
	my ($record, $change) = @_;
	return $record->{deleted} || $change->{deleted};
}

# A null of a group that the change's own source has left when it won.
sub left_null
{
	my ($hub, $record, $change, $field) = @_;
	return defined $hub->group($field) && $record->{fields}{$field} eq 'null' && $record->{stamps}{$field}{setBy} eq $change->{source};
}

# What others set after the base: the fields, and whether it is the tombstone.
sub foreign
{
	my ($hub, $record, $change) = @_;
	my $of_another = sub { return !($hub->is_single_writer($change->{source}) && $_[0] eq $change->{source}) };

	if ($record->{deleted})
	{
		return ([], $change->{base} > 0 && $change->{base} < $record->{rowVersion} && $of_another->($record->{lastSource}));
	}
	my @named = $change->{deleted} ? keys %{ $record->{fields} }
		: grep { defined $record->{fields}{$_} && differs($record, $change, $_) && !$hub->left_null($record, $change, $_) } keys %{ $change->{fields} };
	return ([ grep { $record->{stamps}{$_}{rowVersion} > $change->{base} && $of_another->($record->{stamps}{$_}{setBy}) } @named ], 0);
}

# ---------- groups ----------

# Was the change made on the tombstone?
sub knew_delete
{
	my ($hub, $record, $change, $tombstone) = @_;

	return 0 unless $record->{deleted};
	return !$tombstone if defined $change->{base};
	return $hub->has('version') && $change->{version} > $record->{version};
}

# Does another source vouch for a field of the record, as far as the change can't know?
sub is_opposed
{
	my ($hub, $record, $change, $field, $tombstone) = @_;
	my $stamp = $record->{stamps}{$field};

	return 0 unless defined $record->{fields}{$field};
	return 1 if $hub->knew_delete($record, $change, $tombstone);
	return ($change->{birth} || $stamp->{rowVersion} > $change->{base}) && $stamp->{setBy} ne $change->{source} if defined $change->{base};
	return $stamp->{source} ne $change->{source} && (!$hub->has('version') || $stamp->{version} == $record->{version});
}

# Note which groups are contested, given the fields that are by themselves, and what of
# them is opposed.
sub contest_groups
{
	my ($hub, $record, $change, $contested, $tombstone) = @_;
	my %is_contested = map { $_ => 1 } @$contested;

	$change->{contested} = {};
	for my $group (@{ $change->{groups} })
	{
		my @members = $hub->members($group);
		my @opposed = grep { $is_contested{$_} || $hub->is_opposed($record, $change, $_, $tombstone) } @members;

		$change->{contested}{$group} = \@opposed
			if @opposed && any { exists $change->{fields}{$_} && differs($record, $change, $_) } @members;
	}
}

# All that is contested: the fields by themselves, and all of the groups.
sub with_groups
{
	my ($hub, $change, $contested) = @_;
	my %all = map { $_ => 1 } @$contested, map { $hub->members($_) } keys %{ $change->{contested} };
	return [ sort keys %all ];
}

# Of what the change leaves out of its groups: null in the place of nothing, and of what
# the record has where the group was won.  Returns what lost a value by that.
sub write_implied
{
	my ($hub, $record, $change) = @_;
	my @emptied;

	for my $field (@{ $change->{implied} })
	{
		next if defined $record->{fields}{$field} && !$change->{won}{ $hub->group($field) };
		push @emptied, $field if defined $record->{fields}{$field} && $record->{fields}{$field} ne 'null';
		set_field($record, $change, $field, 'null');
	}
	return @emptied;
}

# ---------- writing ----------

sub copy
{
	my ($record) = @_;
	return { %$record, fields => { %{ $record->{fields} } },
		stamps => { map { $_ => { %{ $record->{stamps}{$_} } } } keys %{ $record->{stamps} } } };
}

sub later
{
	my ($a, $b) = @_;
	return !defined $a ? $b : !defined $b ? $a : max($a, $b);
}

# Give a field a value that differs from what it has.
sub set_field
{
	my ($record, $change, $field, $value) = @_;

	$record->{fields}{$field} = $value;
	$record->{stamps}{$field} = { version => $record->{version}, source => $change->{source},
		rowVersion => $record->{rowVersion}, setBy => $change->{source}, at => $change->{at} };
}

sub new_record
{
	my ($hub, $change) = @_;
	my $counts = $hub->has('version') && !defined $change->{base};
	my $record = { version => $counts ? $change->{version} : 1, rowVersion => 1, lastSource => $change->{source},
		deleted => $change->{deleted}, updatedAt => $change->{at}, fields => {}, stamps => {} };

	set_field($record, $change, $_, $change->{fields}{$_}) for keys %{ $change->{fields} };
	$hub->write_implied($record, $change);
	return { record => $record, status => 200, resolution => 'NEW_RECORD', changed => [ keys %{ $change->{fields} } ],
		told => 'others', whole => 1 };
}

# A whole write at a version; $by_version: a VERSION_WIN by the rung version.
sub whole_write
{
	my ($hub, $before, $change, $resolution, $version, $by_version) = @_;
	my $record = copy($before);
	my $flips = $before->{deleted} != $change->{deleted};
	my @changed;

	$record->{rowVersion}++;
	$record->{version} = $version;
	$record->{lastSource} = $change->{source};
	$record->{deleted} = $change->{deleted};
	$record->{updatedAt} = $by_version && defined $change->{at} ? $change->{at} : later($before->{updatedAt}, $change->{at});
	if ($flips && $change->{birth})
	{
		$record->{fields} = {};
		$record->{stamps} = {};
	}
	for my $field (keys %{ $change->{fields} })
	{
		if (differs($record, $change, $field))
		{
			push @changed, $field;
			set_field($record, $change, $field, $change->{fields}{$field});
		}
		else
		{
			$record->{stamps}{$field}{version} = $version;
			$record->{stamps}{$field}{source} = $change->{source};
		}
	}
	$change->{won} = { map { $_ => 1 } keys %{ $change->{contested} // {} } };
	my @emptied = $hub->write_implied($record, $change);
	return { record => $record, status => 200, resolution => $resolution, changed => [ @changed, @emptied ],
		told => @emptied ? 'all' : $flips || @changed ? 'others' : 'none', whole => 1 };
}

# The version after a whole write that decided a contest.
sub contest_version
{
	my ($hub, $record) = @_;
	return $hub->has('version') ? $record->{version} : $record->{version} + 1;
}

sub set_aside
{
	my ($record, $resolution) = @_;
	return { record => $record, status => 200, resolution => $resolution, changed => [], lost => ['*'], told => 'origin' };
}

# Stamp what the change sends with the value that stands, where it vouches for it.
# $equal: the fields sent with the value that the record had.
sub vouch
{
	my ($hub, $record, $change, @equal) = @_;

	return if !$hub->has('merge') || defined $change->{base};
	for my $field (@equal)
	{
		my $stamp = $record->{stamps}{$field};

		next unless $stamp->{version} < $record->{version} ||
			$hub->rank($change->{source}, $field) < $hub->rank($stamp->{source}, $field);
		$stamp->{version} = $record->{version};
		$stamp->{source} = $change->{source};
	}
}

sub no_change
{
	my ($hub, $before, $change) = @_;
	my $record = copy($before);

	$hub->vouch($record, $change, keys %{ $change->{fields} });
	return { record => $record, status => 200, resolution => 'NO_CHANGE', changed => [], told => 'none', newer_word => 1 };
}

# A merge: $value tells what is written to a field, if anything is; $combined: a
# value is neither side's.
sub merge
{
	my ($hub, $before, $change, $resolution, $value, $lost, $combined) = @_;
	my $record = copy($before);
	my @equal = grep { !differs($before, $change, $_) } keys %{ $change->{fields} };
	my @changed = grep { !defined $before->{fields}{$_} || $before->{fields}{$_} ne $value->{$_} } keys %$value;
	my @emptied = grep { defined $before->{fields}{$_} && $before->{fields}{$_} ne 'null' && $change->{won}{ $hub->group($_) } } @{ $change->{implied} };

	if (@changed || @emptied)
	{
		$record->{rowVersion}++;
		$record->{lastSource} = $change->{source} unless @$lost;
		$record->{updatedAt} = later($before->{updatedAt}, $change->{at});
		set_field($record, $change, $_, $value->{$_}) for @changed;
		$hub->write_lost_and_won($record, $change);
		push @changed, @emptied;
	}
	$hub->vouch($record, $change, @equal);
	return { record => $record, status => 200, resolution => $resolution, changed => \@changed, lost => $lost,
		told => @changed ? (@$lost || $combined || @emptied ? 'all' : 'others') : @$lost ? 'origin' : 'none', merged => 1, newer_word => 1 };
}

# In a merge: all of a group that was won is the change's; of one that was lost nothing is.
sub write_lost_and_won
{
	my ($hub, $record, $change) = @_;
	my %lost = map { $_ => 1 } grep { !$change->{won}{$_} } keys %{ $change->{contested} };

	$hub->write_implied($record, { %$change, implied => [ grep { !$lost{ $hub->group($_) } } @{ $change->{implied} } ] });
	for my $field (grep { my $g = $hub->group($_); defined $g && $change->{won}{$g} } keys %{ $change->{fields} })
	{
		$record->{stamps}{$field}{version} = $record->{version};
		$record->{stamps}{$field}{source} = $change->{source};
	}
}

# ---------- field rules ----------

sub greater
{
	my ($cmp) = @_;
	return $cmp > 0 ? 'theirs' : $cmp < 0 ? 'ours' : undef;
}

sub unite
{
	my ($ours, $theirs) = @_;
	my @elements = map { Json::text($_) } @{ Json::parse($ours) };
	my %there = map { $_ => 1 } @elements;

	push @elements, grep { !$there{$_}++ } map { Json::text($_) } @{ Json::parse($theirs) };
	return '[' . join(',', @elements) . ']';
}

# What a rule chooses of the record's value (ours) and the change's (theirs): the
# value, or undef where it can't decide.
sub decide
{
	my ($rule, $ours, $theirs, $stamp, $change) = @_;
	my ($type, $other) = (Json::type_of($ours), Json::type_of($theirs));
	my $both = sub { return $type eq $_[0] && $other eq $_[0] };
	my %value = (ours => $ours, theirs => $theirs);
	my $pick = sub { return defined $_[0] ? $value{ $_[0] } : undef };
	my $sign = $rule eq 'min' ? -1 : 1;

	if ($rule eq 'max' || $rule eq 'min')
	{
		return $pick->(greater($sign * ($theirs <=> $ours))) if $both->('number');
		return $pick->(greater($sign * (Json::string_of($theirs) cmp Json::string_of($ours)))) if $both->('string');
		return undef;
	}
	if ($rule eq 'longest')
	{
		return undef unless $both->('string');
		my @length = map { my $s = Json::string_of($_); utf8::decode($s); length($s) } $ours, $theirs;
		return $pick->(greater($length[1] <=> $length[0]));
	}
	if ($rule eq 'latest')
	{
		return undef unless defined $stamp->{at} && defined $change->{at};
		return $pick->(greater($change->{at} <=> $stamp->{at}));
	}
	return $both->('array') ? unite($ours, $theirs) : undef if $rule eq 'union';
	return undef if $rule eq 'priority';
	return $ours if $rule eq 'keep';
	die "no rule: $rule\n";
}

# Whose a group becomes by its rule, ours or theirs; undef: it can't decide.
sub decide_group
{
	my ($hub, $record, $change, $group) = @_;
	my $rule = $hub->rule(($hub->members($group))[0]);

	return 'ours' if $rule eq 'keep';
	return undef if $rule ne 'latest' || !defined $change->{at};
	my @known = grep { defined } map { $record->{stamps}{$_}{at} } @{ $change->{contested}{$group} };
	return @known ? greater($change->{at} <=> max(@known)) : undef;
}

# Decide field by field: rules, then ranks.  Returns the outcome, or undef where the
# last rung has to.
sub by_field
{
	my ($hub, $record, $change, $contested) = @_;
	my %is_contested = map { $_ => 1 } @$contested;
	my %value = map { $_ => $change->{fields}{$_} } grep { !$is_contested{$_} } keys %{ $change->{fields} };
	my ($ranked, $combined, @lost) = (0, 0);

	return undef if any { ($hub->rule($_) // '') eq 'manual' } @$contested;
	for my $group (sort keys %{ $change->{contested} })
	{
		my $side = $hub->decide_group($record, $change, $group);

		if (!defined $side)
		{
			return undef unless $hub->has('priority');
			my ($mine, $best) = ($hub->group_rank($change->{source}, $group),
				min(map { $hub->group_rank($record->{stamps}{$_}{source}, $group) } @{ $change->{contested}{$group} }));
			return undef if $mine == $best;
			$side = $mine < $best ? 'theirs' : 'ours';
			$ranked = 1;
		}
		my @named = grep { exists $change->{fields}{$_} } $hub->members($group);
		if ($side eq 'theirs')
		{
			$change->{won}{$group} = 1;
			$value{$_} = $change->{fields}{$_} for @named;
		}
		else
		{
			push @lost, grep { differs($record, $change, $_) } @named;
		}
	}
	for my $field (grep { my $g = $hub->group($_); !defined $g || !$change->{contested}{$g} } @$contested)
	{
		my $rule = $hub->rule($field);
		my ($ours, $theirs) = ($record->{fields}{$field}, $change->{fields}{$field});
		my $decided = defined $rule ? decide($rule, $ours, $theirs, $record->{stamps}{$field}, $change) : undef;

		if (!defined $decided)
		{
			return undef unless $hub->has('priority');
			my ($mine, $other) = ($hub->rank($change->{source}, $field), $hub->rank($record->{stamps}{$field}{source}, $field));
			return undef if $mine == $other;
			$decided = $mine < $other ? $theirs : $ours;
			$ranked = 1;
		}
		if ($decided eq $ours)
		{
			push @lost, $field;
			next;
		}
		$combined = 1 if $decided ne $theirs;
		$value{$field} = $decided;
	}
	return $hub->merge($record, $change, $ranked ? 'PRIORITY_WIN' : 'FIELD_RULE', \%value, \@lost, $combined);
}

# ---------- the whole record ----------

# Returns undef at a tie.
sub by_rank
{
	my ($hub, $record, $change, $foreign) = @_;
	my @sources;

	if ($record->{deleted}) { @sources = ($record->{lastSource}) }
	elsif (@$foreign) { @sources = map { $record->{stamps}{$_}{source} } @$foreign }
	else
	{
		@sources = map { $_->{source} } grep { $_->{version} == $record->{version} } values %{ $record->{stamps} };
		@sources = ($record->{lastSource}) unless @sources;
	}
	my $best = min(map { $hub->rank($_, '*') } @sources);
	my $mine = $hub->rank($change->{source}, '*');

	return undef if $mine == $best;
	return set_aside($record, 'PRIORITY_WIN') if $mine > $best;
	return $hub->whole_write($record, $change, 'PRIORITY_WIN', $hub->contest_version($record));
}

# ---------- the rungs ----------

# The time that an updatedAt is compared with.
sub time_to_beat
{
	my ($record, $foreign) = @_;
	my @known = grep { defined } map { $record->{stamps}{$_}{at} } @$foreign;

	return $record->{updatedAt} unless @$foreign;
	return @known ? max(@known) : undef;
}

sub rung_latest
{
	my ($hub, $record, $change, $foreign) = @_;
	my $time = time_to_beat($record, $foreign);

	return undef if defined $time && $change->{at} == $time;
	return set_aside($record, 'LATEST_SKIP') if defined $time && $change->{at} < $time;
	return $hub->whole_write($record, $change, 'LATEST_WIN', $hub->contest_version($record));
}

# By version, or by what the edit was made on.  Returns the outcome or undef, and the
# fields that are foreign.
sub rung_version
{
	my ($hub, $record, $change) = @_;

	if (defined $change->{base})
	{
		return ($hub->no_change($record, $change), []) unless says_new($record, $change);
		my ($foreign, $tombstone) = $hub->foreign($record, $change);
		$hub->contest_groups($record, $change, $foreign, $tombstone);
		if (!$record->{deleted})
		{
			my %named = map { $_ => 1 } @$foreign, map { @$_ } values %{ $change->{contested} };
			$foreign = [ sort keys %named ];
		}
		return (undef, $foreign) if @$foreign || $tombstone;
		return ($hub->whole_write($record, $change, 'VERSION_WIN', $record->{version} + 1), []);
	}
	return (undef, []) if !$hub->has('version') || $change->{version} == $record->{version};
	$hub->contest_groups($record, $change, []) if $record->{deleted};
	return (set_aside($record, 'STALE_SKIP'), []) if $change->{version} < $record->{version};
	return ($hub->whole_write($record, $change, 'VERSION_WIN', $change->{version}, 1), []);
}

sub contested
{
	my ($hub, $record, $change, $foreign) = @_;

	return $foreign if defined $change->{base};
	return [] if touches_delete($record, $change);
	return [ grep { defined $record->{fields}{$_} && differs($record, $change, $_) && !$hub->left_null($record, $change, $_) &&
			(!$hub->has('version') || $record->{stamps}{$_}{version} == $record->{version}) } keys %{ $change->{fields} } ];
}

sub rung_last
{
	my ($hub, $record, $change, $contested) = @_;

	return set_aside($record, 'KEEP') if $hub->last_rung eq 'keep';
	return $hub->whole_write($record, $change, 'OVERWRITE', $hub->contest_version($record)) if $hub->last_rung eq 'overwrite';
	return { record => $record, status => 409, resolution => 'MANUAL', changed => [], told => 'none',
		newer_word => 1, contested => $contested };
}

sub climb
{
	my ($hub, $record, $change) = @_;
	my ($outcome, $foreign) = $hub->rung_version($record, $change);
	my $contested;

	return $outcome if $outcome;
	$contested = $hub->contested($record, $change, $foreign);
	$hub->contest_groups($record, $change, $contested) unless defined $change->{base};
	$contested = $hub->with_groups($change, $contested);
	if ($hub->has('latest'))
	{
		$outcome = $hub->rung_latest($record, $change, $foreign);
		return $outcome if $outcome;
	}
	return $hub->no_change($record, $change) unless says_new($record, $change);
	if ($hub->has('merge') && !touches_delete($record, $change))
	{
		return $hub->merge($record, $change, 'FIELD_MERGE', { %{ $change->{fields} } }, [], 0) unless @$contested;
		$outcome = $hub->by_field($record, $change, $contested);
	}
	elsif ($hub->has('priority'))
	{
		$outcome = $hub->by_rank($record, $change, $foreign);
	}
	return $outcome // $hub->rung_last($record, $change, $hub->has('merge') && !touches_delete($record, $change) ? $contested : undef);
}

# ---------- conflicts ----------

sub over
{
	my ($conflict, @fields) = @_;
	my %named = map { $_ => 1 } @fields;
	return any { $named{$_} } @{ $conflict->{fields} // [] };
}

# Does what became of the change close a pending conflict of its record?
sub closes
{
	my ($conflict, $before, $change, $outcome) = @_;
	my $written = $outcome->{whole} || ($outcome->{merged} && @{ $outcome->{changed} });
	my $whole_record = !$conflict->{fields};

	return 1 if $written && $before->{deleted} != $outcome->{record}{deleted};
	return 1 if $outcome->{whole} && ($whole_record || over($conflict, keys %{ $change->{fields} }, @{ $outcome->{changed} }));
	return 1 if $written && !$outcome->{whole} && ($whole_record || over($conflict, @{ $outcome->{changed} }));
	return 0 unless $outcome->{newer_word} && $conflict->{source} eq $change->{source};
	return 1 if $outcome->{resolution} eq 'MANUAL' && !$outcome->{contested};
	return $whole_record || over($conflict, keys %{ $change->{fields} });
}

sub settle_conflicts
{
	my ($hub, $before, $change, $outcome) = @_;
	my $patch = Json::text($change->{fields});
	my @pending = grep { $_->{status} eq 'pending' && $_->{id} eq $change->{id} } @{ $hub->{conflicts} };

	if ($outcome->{resolution} eq 'MANUAL')
	{
		return if any { $_->{source} eq $change->{source} && $_->{version} == $before->{version} &&
				$_->{deleted} == $change->{deleted} && $_->{patch} eq $patch } @pending;
		push @{ $hub->{conflicts} }, { id => $change->{id}, source => $change->{source}, version => $before->{version},
			deleted => $change->{deleted}, patch => $patch, fields => $outcome->{contested}, status => 'pending' };
	}
	for my $conflict (@pending)
	{
		next unless closes($conflict, $before, $change, $outcome);
		$conflict->{status} = 'superseded';
		$conflict->{decision} = $outcome->{resolution};
	}
}

# ---------- one change ----------

sub answer
{
	my ($outcome) = @_;
	my $record = $outcome->{record};

	return { status => $outcome->{status}, resolution => $outcome->{resolution},
		version => $record ? $record->{version} : undef, rowVersion => $record ? $record->{rowVersion} : undef,
		lastSource => $record ? $record->{lastSource} : undef,
		changed => [ sort @{ $outcome->{changed} } ], lost => [ sort @{ $outcome->{lost} // [] } ], told => $outcome->{told} };
}

# Apply a document; returns the answer.
sub apply
{
	my ($hub, $document) = @_;
	my $change = read_change($document);
	my $record = $hub->{records}{ $change->{id} };
	my $outcome;

	$hub->complete($change);

	if (defined $change->{ifMatch} && $change->{ifMatch} != ($record ? $record->{rowVersion} : 0))
	{
		return answer({ record => $record, status => 412, resolution => 'PRECONDITION_FAILED', changed => [], told => 'none' });
	}
	if ($record)
	{
		$outcome = $hub->climb($record, $change);
		$hub->settle_conflicts($record, $change, $outcome);
	}
	else
	{
		$outcome = $hub->new_record($change);
	}
	$hub->{records}{ $change->{id} } = $outcome->{record};
	return answer($outcome);
}

1;
