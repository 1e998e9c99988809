// What a person chose in the fields of a form, by the names of the API; an empty field asks for nothing.

export function chosenWishes(place = document) {
  const wishes = {};
  for (const field of place.querySelectorAll("[data-wish]")) {
    const { wish } = field.dataset;
    const values = field.multiple ? [...field.selectedOptions].map((option) => option.value) : [field.value].filter(Boolean);
    if (field.type === "checkbox") { if (field.checked) wishes[wish] = true; }
    else if (!values.length) continue;
    else if ("list" in field.dataset) wishes[wish] = values;
    else wishes[wish] = field.type === "number" ? Number(values[0]) : values[0];
  }
  return wishes;
}
