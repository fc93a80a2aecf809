/*
 * hints.c
 *	  Hints that name a call of ours.
 *
 * Called wherever an error tells which of our functions mends it.  These stand in the
 * schema that the extension was created in, which need be in nobody's search_path.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "model/format.h"
#include "storage/hints.h"
#include "storage/relations.h"

/* What goes before a function's name, in a format; empty: nothing need. */
static const char *
schema_prefix(void)
{
	Oid			schema = IsTransactionState() ? extension_functions_schema() : InvalidOid;
	char	   *name = OidIsValid(schema) ? get_namespace_name(schema) : NULL;
	StringInfoData prefix;

	if (name == NULL || list_member_oid(fetch_search_path(false), schema))
		return "";
	initStringInfo(&prefix);
	for (const char *c = quote_identifier(name); *c != '\0'; c++)
	{
		if (*c == '%')
			appendStringInfoChar(&prefix, '%');
		appendStringInfoChar(&prefix, *c);
	}
	appendStringInfoChar(&prefix, '.');
	return prefix.data;
}

/* The format with the schema before each function that is called. */
static const char *
qualify(const char *format)
{
	static const char *const calls[] = {"SELECT sync_", "CALL sync_"};
	const char *prefix = schema_prefix();
	StringInfoData qualified;

	if (*prefix == '\0')
		return format;
	initStringInfo(&qualified);
	while (*format != '\0')
	{
		for (int i = 0; i < (int) lengthof(calls); i++)
		{
			size_t		verb = strlen(calls[i]) - strlen("sync_");

			if (strncmp(format, calls[i], strlen(calls[i])) != 0)
				continue;
			appendBinaryStringInfo(&qualified, format, verb);
			appendStringInfoString(&qualified, prefix);
			format += verb;
		}
		appendStringInfoChar(&qualified, *format++);
	}
	return qualified.data;
}

char *
call_text(const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	text = format_va(qualify(format), args);
	va_end(args);
	return text;
}
