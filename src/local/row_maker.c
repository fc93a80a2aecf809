/*
 * row_maker.c
 *	  Making a row of an attached relation of JSON, column by column.
 *
 * Values of scalar types are made one by one, by their input functions; those of all
 * others together, by jsonb_populate_record, which knows what they are made of.
 */
#include "postgres.h"

#include "utils/numeric.h"

#include "local/row_maker.h"
#include "local/value_input.h"
#include "model/json.h"

void
row_maker_begin(RowMaker *maker, Attached *attached)
{
	maker->attached = attached;
	maker->row = attached_row_make(attached);
	maker->rest = NULL;
	value_settings_begin(&maker->input);
	if (attached->depends_on_gucs)
		value_pin_input_gucs(&maker->input);
}

void
row_maker_set(RowMaker *maker, const AttachedColumn *column, JsonbValue *json)
{
	const int	a = column->attnum - 1;

	if (column->input != NULL &&
		value_input_take(column->input, json, &maker->row.values[a], &maker->row.isnull[a]))
		return;
	if (maker->rest == NULL)
		pushJsonbValue(&maker->rest, WJB_BEGIN_OBJECT, NULL);
	json_push_key(&maker->rest, column->name);
	pushJsonbValue(&maker->rest, WJB_VALUE, json);
}

void
row_maker_set_text(RowMaker *maker, const AttachedColumn *column, const char *text)
{
	JsonbValue	json;

	json_set_string(&json, text, strlen(text));
	row_maker_set(maker, column, &json);
}

void
row_maker_copy(RowMaker *maker, const AttachedColumn *column, AttachedRow from)
{
	maker->row.values[column->attnum - 1] = from.values[column->attnum - 1];
	maker->row.isnull[column->attnum - 1] = from.isnull[column->attnum - 1];
}

void
row_maker_set_number(RowMaker *maker, const AttachedColumn *column, int64 number)
{
	JsonbValue	json = {.type = jbvNumeric};

	json.val.numeric = int64_to_numeric(number);
	row_maker_set(maker, column, &json);
}

static void
check_attributes(const Attached *attached, Jsonb *object)
{
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];
		JsonbValue	buffer;
		JsonbValue *json;

		if (!value_has_parts(column->value))
			continue;
		json = getKeyJsonValueFromContainer(&object->root, column->name, strlen(column->name),
											&buffer);
		if (json != NULL)
			value_check_attributes(column->value, json);
	}
}

/* Make the values of an object {column: value}. */
static void
populate(RowMaker *maker, Jsonb *object)
{
	Attached   *attached = maker->attached;
	AttachedRow row = attached_row_make(attached);

	check_attributes(attached, object);
	value_deform(FunctionCall2(&attached->populate, attached->empty_row, JsonbPGetDatum(object)),
				 attached->desc, row.values, row.isnull);
	for (int i = 0; i < attached->natts; i++)
		if (!row.isnull[i])
		{
			maker->row.values[i] = row.values[i];
			maker->row.isnull[i] = false;
		}
}

AttachedRow
row_maker_end(RowMaker *maker)
{
	const Attached *attached = maker->attached;
	AttachedRow row = maker->row;
	const bool	any = maker->rest != NULL;

	if (any)
		populate(maker, json_end_object(&maker->rest));
	value_settings_end(&maker->input);
	/* a domain's constraint may have done anything */
	if (any)
		attached_recheck(attached);
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];
		int			a = column->attnum - 1;

		if (row.isnull[a] && column->not_null)
			row.isnull[a] = !value_json_null(column->value, &row.values[a]);
	}
	return row;
}
