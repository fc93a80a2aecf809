/*
 * captured_edit.c
 *	  An edit that was captured for the hub behind a link, as its row of the change log
 *	  has it.
 */
#include "postgres.h"

#include "hub/captured_edit.h"
#include "model/change.h"
#include "model/json_read.h"
#include "model/rfc3339.h"
#include "model/shifts.h"

bool
captured_edit_read(const LogRow *row, FoldEdit *edit)
{
	Fields		detail;

	edit->updated_at = row->has_updated_at ? row->updated_at : row->recorded_at;
	if (!rfc3339_can_be(edit->updated_at))
		return false;
	if (row->detail == NULL)
		return true;
	fields_from_container(&row->detail->root, &detail);
	for (int i = 0; i < detail.n; i++)
	{
		const JsonbValue *value = &detail.field[i].value;
		FieldName	name = detail.field[i].name;

		if (field_name_cmp(name, field_name("deleted")) == 0)
			edit->deleted = true;
		else if (field_name_cmp(name, field_name("inserted")) == 0)
			edit->inserted = true;
		else if (field_name_cmp(name, field_name("cascade")) == 0)
			edit->cascade = true;
		else if (field_name_cmp(name, field_name("all")) == 0)
			edit->all = true;
		else if (field_name_cmp(name, field_name("added")) == 0)
			edit->added = true;
		else if (field_name_cmp(name, field_name("recount")) == 0)
			edit->recount = true;
		else if (field_name_cmp(name, field_name("baseline")) == 0)
			edit->baseline = true;
		else if (field_name_cmp(name, field_name("run")) == 0)
		{
			if (!json_read_number(value, 0, PG_INT64_MAX, &edit->run))
				return false;
		}
		else if (field_name_cmp(name, field_name("version")) == 0)
		{
			edit->has_version = true;
			if (!json_read_number(value, 0, CHANGE_MAX_VERSION, &edit->version))
				return false;
		}
	}
	return true;
}

bool
captured_edit_fold(Fold *fold, const LogRow *row, int64 seq, int64 base, Jsonb *shifts)
{
	FoldEdit	edit = {.base = base, .seq = seq};

	if (row->problem != NULL || !captured_edit_read(row, &edit))
		return false;
	if (!edit.deleted)
	{
		fields_from_container(&row->fields->root, &edit.fields);
		shifts_apply(shifts, seq, &edit.fields);
	}
	fold_add(fold, &edit);
	return true;
}
