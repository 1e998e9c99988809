// What is said of a piece in words: labels, key, metre, length, tempo.

// Returns "composer J S Bach" for COMPOSER=J_S_BACH.
export function labelInWords(label) {
  const [family, names] = label.toLowerCase().split("=");
  return `${family} ${names.replaceAll("_", " ").replace(/(^|[ ,.-])\p{L}/gu, (letter) => letter.toUpperCase())}`;
}

export function inWords(facts) {
  return [
    ...(facts.labels ?? []).map(labelInWords),
    facts.key || "no key",
    ...(facts.metre ? [facts.metre] : []),
    `${facts.bars} bar${facts.bars === 1 ? "" : "s"}`,
    `${Math.round(facts.tempo_bpm)} quarter notes a minute`,
  ].join(", ");
}
