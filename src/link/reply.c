/*
 * reply.c
 *	  What the other side of a link has answered to a call: input, that is
 *	  checked before it is used.
 *
 * link/remote, which alone knows libpq, fills it in, and the rest of link/ reads it.
 * Values are bounded by the call's shape as they come: a hub that sends without end
 * causes an error, and takes no memory.
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "link/reply.h"
#include "link/wire.h"
#include "model/format.h"

/* ---------- what breaks the protocol ---------- */

void
reply_violation(const char *link, const char *call, const char *format,...)
{
	va_list		args;
	char	   *what;

	va_start(args, format);
	what = format_va(format, args);
	va_end(args);
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the hub of link \"%s\" breaks the protocol: its answer to %s %s", link, call,
					what),
			 errhint("What answers %s there is not syncext as this side knows it: see whether the hub has this version of the extension, with its own functions, and whether the link's server leads to it.",
					 call)));
}

static void
violation(const Reply *reply, const char *what)
{
	reply_violation(reply->link, reply->shape.call, "%s", what);
}

/* ---------- filling it in ---------- */

Reply *
reply_begin(const char *link, const ReplyShape *shape)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "syncext reply",
												  ALLOCSET_SMALL_SIZES);
	Reply	   *reply = MemoryContextAllocZero(context, sizeof(Reply));

	reply->context = context;
	reply->link = link;
	reply->shape = *shape;
	return reply;
}

void
reply_free(Reply *reply)
{
	if (reply != NULL)
		MemoryContextDelete(reply->context);
}

void
reply_check_columns(const Reply *reply, int columns)
{
	if (columns != reply->shape.columns)
		violation(reply, psprintf("has %d columns, not %d", columns, reply->shape.columns));
}

ReplyCell *
reply_add_row(Reply *reply)
{
	const int	columns = reply->shape.columns;

	if (reply->nrows == reply->shape.max_rows)
		violation(reply, psprintf("has more rows than the %d that were asked for",
								  reply->shape.max_rows));
	if (reply->nrows == reply->room)
	{
		reply->room = Max(reply->room * 2, 8);
		if (reply->cells == NULL)
			reply->cells = MemoryContextAlloc(reply->context,
											  sizeof(ReplyCell) * reply->room * columns);
		else
			reply->cells = repalloc_huge(reply->cells, sizeof(ReplyCell) * reply->room * columns);
	}
	return &reply->cells[columns * reply->nrows++];
}

/* One value alone may be of any size that there is room for: it can't come in two. */
void
reply_add_value(Reply *reply, ReplyCell *cell, const char *data, int len)
{
	cell->data = NULL;
	cell->len = 0;
	if (data == NULL)
		return;
	reply->bytes += len;
	if (reply->bytes > reply->shape.max_bytes)
		violation(reply, psprintf("has more than the %zu bytes that were asked for",
								  reply->shape.max_bytes));
	if (memchr(data, 0, len) != NULL)
		violation(reply, "has a zero byte in a value");
	cell->data = MemoryContextAllocHuge(reply->context, (Size) len + 1);
	memcpy(cell->data, data, len);
	cell->data[len] = '\0';
	cell->len = len;
}

/* The code of an error; 0 if it can't be one. */
static int
read_sqlstate(const char *state)
{
	if (state == NULL || strlen(state) != 5)
		return 0;
	for (int i = 0; i < 5; i++)
		if (!(state[i] >= '0' && state[i] <= '9') && !(state[i] >= 'A' && state[i] <= 'Z'))
			return 0;
	/* success, a warning, no data */
	if (state[0] == '0' && state[1] <= '2')
		return 0;
	return MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
}

void
reply_add_error(Reply *reply, const char *sqlstate, const char *message, const char *detail,
				const char *hint)
{
	MemoryContext old = MemoryContextSwitchTo(reply->context);

	reply->nrows = 0;
	reply->sqlstate = read_sqlstate(sqlstate);
	if (reply->sqlstate == 0)
		reply->sqlstate = sqlstate == NULL ? ERRCODE_CONNECTION_FAILURE : ERRCODE_PROTOCOL_VIOLATION;
	reply->message = wire_message(message != NULL ? message : "the call failed");
	reply->detail = detail == NULL ? NULL : wire_message(detail);
	reply->hint = hint == NULL ? NULL : wire_message(hint);
	MemoryContextSwitchTo(old);
}

void
reply_end(const Reply *reply)
{
	if (reply->sqlstate == 0 && reply->nrows < reply->shape.min_rows)
		violation(reply, reply->nrows == 0 ? "has no row" :
				  psprintf("has %d rows, fewer than %d", reply->nrows, reply->shape.min_rows));
}

/* ---------- errors ---------- */

static const char *const raised_in = "reply_check";

void
reply_check(const Reply *reply)
{
	if (reply->sqlstate == 0)
		return;
	ereport(ERROR,
			(errcode(reply->sqlstate),
			 errmsg_internal("%s", reply->message),
			 reply->detail != NULL ? errdetail_internal("%s", reply->detail) : 0,
			 reply->hint != NULL ? errhint("At the hub: %s", reply->hint) : 0,
			 errcontext("link \"%s\", at the hub", reply->link)));
}

bool
reply_raised(const ErrorData *error)
{
	return error->funcname != NULL && strcmp(error->funcname, raised_in) == 0;
}

/* Where room ran out has to be made there: here or at the hub. */
char *
reply_error_text(const ErrorData *error)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
	if (error->detail != NULL)
		appendStringInfo(&text, ": %s", error->detail);
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
		appendStringInfoString(&text, reply_raised(error) ? " (at the hub)" : " (here)");
	return text.data;
}

/* ---------- values ---------- */

static const ReplyCell *
find_cell(const Reply *reply, int row, int column)
{
	Assert(row < reply->nrows && column < reply->shape.columns);
	return &reply->cells[row * reply->shape.columns + column];
}

static const ReplyCell *
required_cell(const Reply *reply, int row, int column)
{
	const ReplyCell *cell = find_cell(reply, row, column);

	if (cell->data == NULL)
		violation(reply, psprintf("has a null in column %d", column + 1));
	return cell;
}

bool
reply_is_null(const Reply *reply, int row, int column)
{
	return find_cell(reply, row, column)->data == NULL;
}

const char *
reply_text(const Reply *reply, int row, int column)
{
	return required_cell(reply, row, column)->data;
}

Size
reply_length(const Reply *reply, int row, int column)
{
	return find_cell(reply, row, column)->len;
}

bool
reply_bool(const Reply *reply, int row, int column)
{
	const char *text = reply_text(reply, row, column);

	if (strcmp(text, "t") != 0 && strcmp(text, "f") != 0)
		violation(reply, psprintf("has no boolean in column %d", column + 1));
	return text[0] == 't';
}

int64
reply_int64(const Reply *reply, int row, int column, int64 min, int64 max)
{
	const char *text = reply_text(reply, row, column);
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoi64(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || isspace((unsigned char) text[0]))
		violation(reply, psprintf("has no whole number of 64 bits in column %d", column + 1));
	if (number < min || number > max)
		violation(reply, psprintf("has " INT64_FORMAT " in column %d, which is not from " INT64_FORMAT " to " INT64_FORMAT,
								  number, column + 1, min, max));
	return number;
}

const char *
reply_try_string(const Reply *reply, int row, int column, const char **why)
{
	const ReplyCell *cell = required_cell(reply, row, column);

	return wire_in(cell->data, cell->len, why);
}

const char *
reply_string(const Reply *reply, int row, int column)
{
	const char *why;
	const char *string = reply_try_string(reply, row, column, &why);

	if (string == NULL)
		violation(reply, psprintf("cannot be read in column %d: %s", column + 1, why));
	return string;
}

/*
 * Parsing touches nothing but memory: what it raises can be caught without a
 * subtransaction, and outside of any transaction.
 */
static Jsonb *
try_parse(const char *text, const char **why)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile jsonb = NULL;

	PG_TRY();
	{
		jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		/* out of memory, say, or a cancelled query */
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
			PG_RE_THROW();
		FlushErrorState();
		*why = psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
	return jsonb;
}

Jsonb *
reply_try_jsonb(const Reply *reply, int row, int column, const char **why)
{
	const char *text = reply_try_string(reply, row, column, why);

	return text == NULL ? NULL : try_parse(text, why);
}

Jsonb *
reply_jsonb(const Reply *reply, int row, int column)
{
	const char *why;
	Jsonb	   *jsonb = reply_try_jsonb(reply, row, column, &why);

	if (jsonb == NULL)
		violation(reply, psprintf("has no JSON in column %d: %s", column + 1, why));
	return jsonb;
}
