/*
 * wire.c
 *	  Text as it goes over a link, in an encoding that both sides can tell.
 *
 * Conversion functions look into no catalog once they are found; as the server does for
 * its clients, they are found in a transaction and called outside of one.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/namespace.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "link/wire.h"

/* What is converted at once, in bytes. */
#define PIECE		(64 * 1024)
/* What is kept of a message, in bytes. */
#define MAX_MESSAGE	2000

typedef struct Conversion
{
	FmgrInfo	function;
	int			from;
	int			to;
} Conversion;

static int	encoding = -1;		/* of the wire */
static Conversion incoming;		/* these two where it isn't the database's */
static Conversion outgoing;

static bool
find_conversion(int from, int to, Conversion *conversion)
{
	Oid			function = FindDefaultConversionProc(from, to);

	if (!OidIsValid(function))
		return false;
	fmgr_info_cxt(function, &conversion->function, TopMemoryContext);
	conversion->from = from;
	conversion->to = to;
	return true;
}

/*
 * The wire is in UTF-8, which has every character.  A database in SQL_ASCII, which can't be
 * converted, or in an encoding that the server can't convert to UTF-8, sends its own: then
 * the hub's server converts.
 */
void
wire_prepare(void)
{
	const int	database = GetDatabaseEncoding();

	if (encoding >= 0)
		return;
	if (database != PG_SQL_ASCII && database != PG_UTF8 &&
		find_conversion(PG_UTF8, database, &incoming) &&
		find_conversion(database, PG_UTF8, &outgoing))
		encoding = PG_UTF8;
	else
		encoding = database;
}

const char *
wire_encoding_name(void)
{
	return pg_encoding_to_char(encoding);
}

/* ---------- converting ---------- */

static bool
is_ascii_text(const char *text, int len)
{
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(text[i]) || text[i] == '\0')
			return false;
	return true;
}

/* The bytes of the character at a place, as the server's own messages have them. */
static const char *
character(const char *text, int len, int from)
{
	StringInfoData bytes;
	int			n = Min(pg_encoding_mblen_bounded(from, text), len);

	initStringInfo(&bytes);
	for (int i = 0; i < Max(n, 1); i++)
		appendStringInfo(&bytes, "%s0x%02x", i > 0 ? " " : "", (unsigned char) text[i]);
	return bytes.data;
}

static bool
is_valid(const char *text, int len, int in, const char **why)
{
	int			valid = pg_encoding_verifymbstr(in, text, len);

	if (valid == len)
		return true;
	*why = psprintf("22021: invalid byte sequence for encoding \"%s\": %s",
					pg_encoding_to_char(in), character(text + valid, len - valid, in));
	return false;
}

/* Piece by piece: room for the worst would be several times the text's size. */
static const char *
convert(Conversion *conversion, const char *text, int len, const char **why)
{
	StringInfoData result;
	char	   *piece;

	if (is_ascii_text(text, len))
		return text;
	if (!is_valid(text, len, conversion->from, why))
		return NULL;
	initStringInfo(&result);
	piece = palloc(PIECE * MAX_CONVERSION_GROWTH + 1);
	while (len > 0)
	{
		int			done =
			DatumGetInt32(FunctionCall6(&conversion->function, Int32GetDatum(conversion->from),
										Int32GetDatum(conversion->to), CStringGetDatum(text),
										CStringGetDatum(piece), Int32GetDatum(Min(len, PIECE)),
										BoolGetDatum(true)));

		if (done <= 0)
		{
			*why = psprintf("22P05: character with byte sequence %s in encoding \"%s\" has no equivalent in encoding \"%s\"",
							character(text, len, conversion->from),
							pg_encoding_to_char(conversion->from),
							pg_encoding_to_char(conversion->to));
			return NULL;
		}
		appendStringInfoString(&result, piece);
		text += done;
		len -= done;
	}
	pfree(piece);
	return result.data;
}

const char *
wire_in(const char *text, int len, const char **why)
{
	if (encoding == GetDatabaseEncoding())
		return is_valid(text, len, encoding, why) ? text : NULL;
	return convert(&incoming, text, len, why);
}

const char *
wire_out(const char *text, const char **why)
{
	if (encoding == GetDatabaseEncoding())
		return text;
	return convert(&outgoing, text, strlen(text), why);
}

const char *
wire_out_required(const char *text)
{
	const char *why;
	const char *converted = wire_out(text, &why);

	if (converted == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("\"%s\" cannot be told to a hub", text),
				 errdetail_internal("%s", why)));
	return converted;
}

/* ---------- messages ---------- */

/*
 * One line: runs of white space are a space, what is no character a question mark.
 * In no encoding (-1) that is all but ASCII.
 */
static void
append_line(StringInfo line, const char *text, int len, int in)
{
	for (int i = 0; i < len && line->len < MAX_MESSAGE;)
	{
		const bool	blank = text[i] == '\n' || text[i] == '\r' || text[i] == '\t' ||
			text[i] == ' ';
		int			n = 1;

		if (IS_HIGHBIT_SET(text[i]))
		{
			n = in < 0 ? 1 : pg_encoding_mblen_bounded(in, text + i);
			if (in >= 0 && n <= len - i && pg_encoding_verifymbstr(in, text + i, n) == n)
				appendBinaryStringInfo(line, text + i, n);
			else
			{
				appendStringInfoChar(line, '?');
				n = 1;
			}
		}
		else if (!blank)
			appendStringInfoChar(line, iscntrl((unsigned char) text[i]) ? '?' : text[i]);
		else if (line->len > 0 && line->data[line->len - 1] != ' ')
			appendStringInfoChar(line, ' ');
		i += n;
	}
	while (line->len > 0 && line->data[line->len - 1] == ' ')
		line->data[--line->len] = '\0';
}

char *
wire_message(const char *text)
{
	const int	database = GetDatabaseEncoding();
	const char *why;
	const char *converted = NULL;
	int			len = (int) Min(strlen(text), 4 * MAX_MESSAGE);
	StringInfoData line;

	initStringInfo(&line);
	if (encoding >= 0 && encoding != database)
		converted = wire_in(text, len, &why);
	/* text itself may be longer than what was looked at */
	if (converted != NULL && converted != text)
		append_line(&line, converted, strlen(converted), database);
	else
		append_line(&line, text, len, encoding == database ? database : -1);
	return line.data;
}
