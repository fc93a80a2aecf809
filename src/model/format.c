/*
 * format.c
 *	  A text by a printf format whose arguments a function has taken itself.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "model/format.h"

char *
format_va(const char *format, va_list args)
{
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list		copy;
		int			needed;

		va_copy(copy, args);
		needed = appendStringInfoVA(&text, format, copy);
		va_end(copy);
		if (needed == 0)
			return text.data;
		enlargeStringInfo(&text, needed);
	}
}
