# Json.pm
#	  JSON values as texts in one form: two values are equal, as jsonb compares
#	  them, exactly if their texts are.
#
# A reader of its own, because numbers have to stay numbers, exactly: 1.0 is 1 and
# "1" is neither.  Strings are bytes (UTF-8) throughout.

package Json;

use strict;
use warnings;

# Reads a text into nested Perl data: objects and arrays as such, each scalar as the
# text that stands for it.
sub parse
{
	my ($text) = @_;
	local $_ = $text;
	pos($_) = 0;
	my $value = parse_value();
	/\G\s*\z/gc or die "text after a JSON value: $text\n";
	return $value;
}

sub parse_value
{
	/\G\s*/gc;
	return parse_object() if /\G\{/gc;
	return parse_array() if /\G\[/gc;
	return quote(parse_string()) if /\G"/gc;
	return $1 if /\G(true|false|null)/gc;
	return number($1) if /\G(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)/gc;
	die 'no JSON value: ' . substr($_, pos($_) // 0, 40) . "\n";
}

sub parse_object
{
	my %object;

	return \%object if /\G\s*\}/gc;
	while (1)
	{
		/\G\s*"/gc or die "no key in an object\n";
		my $key = parse_string();
		/\G\s*:/gc or die "no value for key $key\n";
		$object{$key} = parse_value();
		return \%object if /\G\s*\}/gc;
		/\G\s*,/gc or die "an object doesn't end\n";
	}
}

sub parse_array
{
	my @array;

	return \@array if /\G\s*\]/gc;
	while (1)
	{
		push @array, parse_value();
		return \@array if /\G\s*\]/gc;
		/\G\s*,/gc or die "an array doesn't end\n";
	}
}

my %escaped = (b => "\b", f => "\f", n => "\n", r => "\r", t => "\t");

# After the quote; returns the bytes that are meant.
sub parse_string
{
	my $string = '';

	while (1)
	{
		if (/\G([^"\\]+)/gc) { $string .= $1 }
		elsif (/\G"/gc) { return $string }
		elsif (/\G\\u([0-9a-fA-F]{4})/gc)
		{
			my $char = chr(hex($1));
			utf8::encode($char);
			$string .= $char;
		}
		elsif (/\G\\(.)/gc) { $string .= $escaped{$1} // $1 }
		else { die "a string doesn't end\n" }
	}
}

# A number without zeros that don't count: digits and an exponent.
sub number
{
	my ($sign, $whole, $part, $exponent) =
		$_[0] =~ /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/ or die "no number: $_[0]\n";
	my $digits = $whole . ($part // '');

	$exponent = ($exponent // 0) - length($part // '');
	$digits =~ s/^0+//;
	return '0' if $digits eq '';
	$exponent += length($1) if $digits =~ s/(0+)$//;
	return $sign . $digits . '0' x $exponent if $exponent > 0 && $exponent < 20;
	return $sign . $digits . ($exponent ? "e$exponent" : '');
}

sub quote
{
	my ($string) = @_;

	$string =~ s/(["\\])/\\$1/g;
	$string =~ s/([\x00-\x1f])/sprintf('\\u%04x', ord($1))/ge;
	return "\"$string\"";
}

# The text of a value, its objects' keys in one order.
sub text
{
	my ($value) = @_;

	return '[' . join(',', map { text($_) } @$value) . ']' if ref($value) eq 'ARRAY';
	return $value unless ref($value);
	return '{' . join(',', map { quote($_) . ':' . text($value->{$_}) } sort keys %$value) . '}';
}

# What a text is: null, boolean, number, string, array or object.
sub type_of
{
	my ($text) = @_;
	my %type = ('n' => 'null', 't' => 'boolean', 'f' => 'boolean', '"' => 'string', '[' => 'array', '{' => 'object');

	return $type{substr($text, 0, 1)} // 'number';
}

# The bytes of a string's text.
sub string_of
{
	my ($text) = @_;

	return $text =~ /\\/ ? do { local $_ = substr($text, 1); pos($_) = 0; parse_string() } : substr($text, 1, -1);
}

1;
