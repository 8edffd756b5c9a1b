// What was seen, as a table.

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

/** Several runs as one: medians of numbers, everything that was seen of the rest. */
export function merge(runs) {
  return Object.fromEntries(Object.keys(runs[0]).map((who) => [who, mergeOne(runs.map((run) => run[who]))]));
}

function mergeOne(all) {
  const merged = { ...all[0] };
  for (const key of Object.keys(merged)) {
    const values = all.map((one) => one[key]).filter((value) => value !== null);
    if (key === 'hows') merged[key] = [...new Set(values.flat())];
    else if (key === 'how') merged[key] = [...new Set(values)].join(', ') || null;
    else if (key === 'seen') merged[key] = all.map((one) => one.seen).reduce((sum, seen) => Object.entries(seen).reduce((sum, [how, count]) => ({ ...sum, [how]: (sum[how] ?? 0) + count }), sum), {});
    else if (typeof values[0] === 'number') merged[key] = values.length * 2 > all.length ? median(values) : null;
  }
  const lasts = all.map(({ last }) => last).filter((last) => typeof last === 'number');
  if (lasts.length > 1) merged.worst = Math.max(...lasts);
  return merged;
}

/** Milliseconds, as a person says them. */
function time(ms) {
  if (ms === Infinity) return 'never';
  if (ms < 0) return '0 ms';
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return `${(ms / 1_000).toFixed(ms < 9_950 ? 1 : 0)} s`;
}

const CELLS = {
  tunnels({ count, told, hows, first, median, last, working, patience }) {
    const rest = count - told;
    const fate = working === rest ? 'kept, and work' : working === 0 ? `**not told in ${patience} s**` : `kept, ${working} work`;
    if (told === 0) return count === rest && working === rest ? 'all kept, and work' : fate;
    const times = `${hows.join(', ')}: ${time(first)} / ${time(median)} / ${time(last)}`;
    return rest === 0 ? times : `${told} ${times}; ${rest} ${fate}`;
  },
  one({ after, how, patience, lives }) {
    if (after !== null) return `${how} after ${time(after)}`;
    return lives ? 'kept' : `**not told in ${patience} s**`;
  },
  new({ first, median, last, seen, patience }) {
    const errors = Object.entries(seen).map(([how, count]) => `${count} x ${how}`).join(', ');
    const times = [first, median, last].filter((moment) => moment !== undefined && moment !== null);
    const stays = Object.keys(seen).join() === 'by the same';
    if (stays && times[0] === Infinity) return 'served by the same all the time';
    const when = times[0] === Infinity ? `**not in ${patience} s**` : `served ${first === undefined ? 'elsewhere ' : ''}after ${times.map(time).join(' / ')}`;
    return errors ? `${when} (${errors})` : when;
  },
  refused: ({ seen, slowest }) => `${Object.keys(seen).join(', ')}; the slowest after ${time(slowest)}`,
};

/** `merged`: `{ fault: { proxy: { who: observation } } }`, or why a fault was left out. */
export function table(merged, proxies, titles, faults) {
  const rows = [['fault', 'who', ...proxies.map((proxy) => titles[proxy])]];
  for (const [fault, seen] of Object.entries(merged)) {
    if (typeof seen === 'string') {
      rows.push([faults[fault], `SKIPPED: ${seen}`, ...proxies.map(() => '')]);
      continue;
    }
    Object.keys(seen[proxies[0]]).forEach((who, n) => {
      rows.push([n === 0 ? faults[fault] : '', who, ...proxies.map((proxy) => CELLS[seen[proxy][who].kind](seen[proxy][who]))]);
    });
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`;
  return [line(rows[0]), line(widths.map((width) => '-'.repeat(width))), ...rows.slice(1).map(line)].join('\n');
}
