/*
 * json_size.c
 *	  How long is the text of a jsonb value?
 *
 * Called where sizes are bounded.  The bytes that a jsonb takes don't tell: the
 * number 1e100000 takes twelve, and a hundred thousand as text, and a control
 * character one, and six.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "model/json_size.h"

/* A character as \u0000. */
#define ESCAPE_BYTES	6
/* What goes with each value: quotes, a separator. */
#define AROUND_BYTES	4

/*
 * The first bytes of a numeric as it is stored (see numeric.c): in the short form
 * sign, scale and weight are in one word, in the long one the weight is in the next.
 */
#define NUMBER_KIND			0xC000
#define NUMBER_IS_SHORT		0x8000
#define NUMBER_IS_SPECIAL	0xC000
#define NUMBER_SCALE		0x3FFF
#define SHORT_SCALE			0x1F80
#define SHORT_SCALE_SHIFT	7
#define SHORT_NEGATIVE		0x0040
#define SHORT_WEIGHT		0x003F

/* A number is put out with all of its digits. */
static Size
number_bytes(const void *numeric)
{
	const char *data = VARDATA_ANY(numeric);
	uint16		header;
	int			scale;
	int			weight;			/* groups of four digits before the point, less one */

	memcpy(&header, data, sizeof(header));
	switch (header & NUMBER_KIND)
	{
		case NUMBER_IS_SPECIAL:
			return sizeof("-Infinity");
		case NUMBER_IS_SHORT:
			scale = (header & SHORT_SCALE) >> SHORT_SCALE_SHIFT;
			weight = header & SHORT_WEIGHT;
			if (header & SHORT_NEGATIVE)
				weight -= SHORT_NEGATIVE;
			break;
		default:
			{
				int16		stored;

				memcpy(&stored, data + sizeof(header), sizeof(stored));
				scale = header & NUMBER_SCALE;
				weight = stored;
			}
	}
	return Max(weight + 1, 1) * 4 + scale + 2;
}

static Size
string_bytes(const char *string, int len, JsonMeasure measure)
{
	Size		bytes = len;

	if (measure == JSON_PLAIN)
		return bytes;
	if (measure == JSON_WORST)
		return bytes * ESCAPE_BYTES;
	for (int i = 0; i < len; i++)
	{
		if ((unsigned char) string[i] < ' ')
			bytes += ESCAPE_BYTES - 1;
		else if (string[i] == '"' || string[i] == '\\')
			bytes++;
	}
	return bytes;
}

Size
json_container_bytes(const JsonbContainer *container, JsonMeasure measure)
{
	int			n = JsonContainerSize(container) * (JsonContainerIsObject(container) ? 2 : 1);
	const char *base = (const char *) (container->children + n);
	Size		bytes = 2 + (Size) n * AROUND_BYTES;
	uint32		offset = 0;

	check_stack_depth();
	for (int i = 0; i < n; i++)
	{
		JEntry		entry = container->children[i];
		uint32		end = offset;

		JBE_ADVANCE_OFFSET(end, entry);
		if (JBE_ISSTRING(entry))
			bytes += string_bytes(base + offset, end - offset, measure);
		else if (JBE_ISNUMERIC(entry))
			bytes += number_bytes(base + INTALIGN(offset));
		else if (JBE_ISCONTAINER(entry))
			bytes += json_container_bytes((const JsonbContainer *) (base + INTALIGN(offset)),
										  measure);
		else
			bytes += sizeof("false");
		offset = end;
	}
	return bytes;
}

Size
json_value_bytes(const JsonbValue *value, JsonMeasure measure)
{
	switch (value->type)
	{
		case jbvString:
			return AROUND_BYTES + string_bytes(value->val.string.val, value->val.string.len, measure);
		case jbvNumeric:
			return AROUND_BYTES + number_bytes(value->val.numeric);
		case jbvBinary:
			return AROUND_BYTES + json_container_bytes(value->val.binary.data, measure);
		default:
			return AROUND_BYTES + sizeof("false");
	}
}
