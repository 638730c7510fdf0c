// Charts: counts in a row of hours or days. A chart says nothing that its name, its readout
// and its table do not say too, and series differ in lightness and pattern, not in hue alone.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import "./charts.css";
import { number, plural } from "./format";
import type { Instant, StatusCounts } from "./types";

const hourText = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const dayText = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const hourTick = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const midnightTick = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayTick = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const compact = new Intl.NumberFormat(undefined, { notation: "compact" });

type Granularity = "hour" | "day";

/** The bucket for people: an hour in the viewer's zone, a day in UTC, as the API cuts them. */
function spanText(start: Instant, granularity: Granularity): string {
  const from = new Date(start);
  return granularity === "day" ? dayText.format(from) + " (UTC)" : hourText.formatRange(from, new Date(from.getTime() + 3_600_000));
}

/** A bar for each hour or day, in a table's cell. label is its name: "120 requests in 36 hours". */
export function Sparkline({ values, starts, label }: { values: number[]; starts: Instant[]; label: string }) {
  const top = Math.max(1, ...values);
  const granularity = starts[0] && starts[1] && Date.parse(starts[1]) - Date.parse(starts[0]) > 3_600_000 ? "day" : "hour";
  const bars = values.map((v, i) => v && `M${i * 3 + 1} 23v${-Math.max(2, (v / top) * 22).toFixed(1)}`).filter(Boolean).join("");
  return (
    <span class="sparkline" role="img" aria-label={label}
      onMouseMove={(e) => {
        const { left, width } = e.currentTarget.getBoundingClientRect();
        const i = Math.floor(((e.clientX - left) / width) * values.length), start = starts[i];
        if (start) e.currentTarget.title = `${spanText(start, granularity)}: ${plural(values[i] ?? 0, "request")}`;
      }}>
      <svg viewBox={`0 0 ${Math.max(1, values.length * 3 - 1)} 24`} preserveAspectRatio="none" aria-hidden="true">
        <path class="ground" d={`M0 23.5h${values.length * 3}`} />
        <path d={bars} />
      </svg>
    </span>
  );
}

export interface Bucket { start: Instant; parts: number[] }

/** The names of the parts that statusParts makes. */
export const statusNames = ["1xx informational", "2xx successful", "3xx redirected", "4xx client error", "5xx server error"];
export const statusParts = (s: StatusCounts) => [s["1xx"], s["2xx"], s["3xx"], s["4xx"], s["5xx"]];

const sum = (list: number[]) => list.reduce((a, b) => a + b, 0);

/** The step of an axis: 1, 2 or 5 times a power of ten, so that at most four reach top. */
function step(top: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, top / 4)));
  return power * ([1, 2, 5].find((n) => n * power * 4 >= top) ?? 10);
}

/**
 * Which bars get a tick, so that each has at least apart pixels: round hours of the viewer's
 * clock, or days counted back from the last.
 */
function ticksOf(buckets: Bucket[], granularity: Granularity, slot: number, apart: number): { i: number; text: string }[] {
  const steps = granularity === "hour" ? [1, 2, 3, 6, 12, 24, 48, 96, 168] : [1, 2, 5, 10, 20, 50, 100];
  const every = steps.find((n) => n * slot >= apart) ?? 1000;
  const list: { i: number; text: string }[] = [];
  buckets.forEach(({ start }, i) => {
    const t = new Date(start);
    if (granularity === "day") {
      if ((buckets.length - 1 - i) % every === 0) list.push({ i, text: dayTick.format(t) });
    } else if (every <= 24 ? t.getHours() % every === 0 : t.getHours() === 0 && Math.floor(i / 24) % (every / 24) === 0) {
      list.push({ i, text: t.getHours() === 0 ? midnightTick.format(t) : hourTick.format(t) });
    }
  });
  return list;
}

interface BarsProps {
  buckets: Bucket[];
  /** What the parts of a bucket are, lowest first. There are five looks, made for statusNames. */
  names: string[];
  /** The chart's name. */
  label: string;
  granularity: Granularity;
}

/** Stacked bars. A bucket is read out under the pointer, or by the arrow keys. */
export function Bars({ buckets, names, label, granularity }: BarsProps) {
  const id = useId();
  const plot = useRef<HTMLDivElement>(null);
  const [{ width, em }, measure] = useState({ width: 600, em: 13 });
  const [at, choose] = useState<number>();
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const el = plot.current;
    if (!el) return;
    const observer = new ResizeObserver(() => measure({ width: el.clientWidth, em: parseFloat(getComputedStyle(el).fontSize) }));
    observer.observe(el);
    return () => observer.disconnect();
  }, []);

  const totals = buckets.map((b) => sum(b.parts));
  const by = names.map((_, i) => sum(buckets.map((b) => b.parts[i] ?? 0)));
  const unit = step(Math.max(...totals, 0)), steps = Math.max(1, Math.ceil(Math.max(...totals, 0) / unit));
  const lines = Array.from({ length: steps + 1 }, (_, i) => i * unit);
  const labels = lines.map((n) => compact.format(n));
  const left = Math.ceil(Math.max(...labels.map((t) => t.length)) * em * 0.62 + em * 0.5);
  const above = em * 0.9, height = em * 15, floor = height - em * 1.7;
  const slot = Math.max(0, width - left) / Math.max(1, buckets.length), gap = slot < 3 ? 0 : Math.min(4, slot * 0.22);
  const y = (n: number) => floor - (n / (unit * steps)) * (floor - above);
  const look = (i: number) => (names.length === 1 ? 1 : i % 5);

  const paths = names.map(() => "");
  buckets.forEach((b, i) => {
    let bottom = floor;
    b.parts.forEach((n, part) => {
      if (!n) return;
      // One failure among thousands must be seen: nothing is lower than two pixels.
      const h = Math.max(2, floor - y(n));
      paths[part] += `M${(left + i * slot + gap / 2).toFixed(2)} ${bottom.toFixed(2)}h${(slot - gap).toFixed(2)}v${(-h).toFixed(2)}h${(gap - slot).toFixed(2)}z`;
      bottom -= h;
    });
  });

  const chosen = at === undefined ? undefined : buckets[at];
  const texts = chosen && `${spanText(chosen.start, granularity)}: ${plural(sum(chosen.parts), "request")}`;
  const shown = names.map((name, i) => ({ name, i, n: chosen ? chosen.parts[i] ?? 0 : by[i] ?? 0 })).filter(({ i }) => by[i]);
  const last = buckets.length - 1;
  const point = (e: PointerEvent & { currentTarget: HTMLElement }) => {
    const i = Math.floor((e.clientX - e.currentTarget.getBoundingClientRect().left - left) / slot);
    choose(i >= 0 && i <= last ? i : undefined);
  };
  const press = (e: KeyboardEvent) => {
    const from = at ?? last + 1;
    const to = { ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1, Home: 0, End: last, PageUp: from + 6, PageDown: from - 6 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    choose(Math.min(last, Math.max(0, to)));
  };
  return (
    <figure class="chart" aria-label={label}>
      <div class="readout">
        <span>{texts ?? `${plural(sum(totals), "request")} in all`}</span>
        {names.length > 1 && (
          <ul>
            {shown.map(({ name, i, n }) => (
              <li key={name}>
                <svg width=".875rem" height=".875rem" viewBox="0 0 14 14" aria-hidden="true"><rect class={`look${look(i)}`} x="1" y="1" width="12" height="12" fill={`url(#${id}-${look(i)})`} /></svg>
                {name} <b>{number(n)}</b>
              </li>
            ))}
          </ul>
        )}
      </div>
      <div ref={plot} class="plot" tabIndex={0} role="slider" aria-label={granularity === "hour" ? "Hour" : "Day"}
        aria-valuemin={0} aria-valuemax={Math.max(0, last)} aria-valuenow={at ?? Math.max(0, last)}
        aria-valuetext={texts ? [texts, ...(names.length > 1 ? shown.filter((s) => s.n).map((s) => `${s.name} ${number(s.n)}`) : [])].join(", ") : "None chosen"}
        onPointerMove={point} onPointerDown={point} onPointerLeave={() => choose(undefined)} onKeyDown={press} onBlur={() => choose(undefined)}>
        <svg width={width} height={height} aria-hidden="true">
          <defs>
            {[0, 1, 2, 3, 4].map((n) => <Pattern key={n} id={`${id}-${n}`} n={n} />)}
          </defs>
          {lines.map((n, i) => (
            <g key={n}>
              <path class={i ? "line" : "line ground"} d={`M${left} ${Math.round(y(n)) + 0.5}H${width}`} />
              <text x={left - em * 0.4} y={y(n)} dy=".35em" text-anchor="end">{labels[i]}</text>
            </g>
          ))}
          {at !== undefined && chosen && <rect class="chosen" x={left + at * slot} y={above / 2} width={slot} height={floor - above / 2} />}
          {names.map((name, i) => paths[i] && <path key={name} class={`look${look(i)}`} d={paths[i]} fill={`url(#${id}-${look(i)})`} />)}
          {ticksOf(buckets, granularity, slot, em * 5).map(({ i, text }) => {
            // Half of a text at the right edge would be cut off: it ends there.
            const x = left + (i + 0.5) * slot, edge = x + em * 1.8 > width;
            return (
              <g key={i}>
                <path class="line ground" d={`M${x} ${floor}v${em * 0.3}`} />
                <text x={edge ? width : x} y={height - em * 0.35} text-anchor={edge ? "end" : "middle"}>{text}</text>
              </g>
            );
          })}
        </svg>
      </div>
      <details open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
        <summary>Show as a table</summary>
        {open && <Figures buckets={buckets} names={names} label={label} granularity={granularity} totals={totals} />}
      </details>
    </figure>
  );
}

// The five looks: outlined, solid, dotted, striped, solid and dark.
function Pattern({ id, n }: { id: string; n: number }) {
  return (
    <pattern id={id} width="6" height="6" patternUnits="userSpaceOnUse" class={`look${n}`}>
      <rect width="6" height="6" class={n === 1 || n === 4 ? "full" : "blank"} />
      {n === 2 && <circle cx="3" cy="3" r="1.5" class="full" />}
      {n === 3 && <path d="M-1 1 1-1M-1 7 7-1M5 7 7 5" class="stroke" />}
    </pattern>
  );
}

function Figures({ buckets, names, label, granularity, totals }: BarsProps & { totals: number[] }) {
  const columns = names.length > 1 ? names : [];
  return (
    <div class="table" tabIndex={0} role="region" aria-label={label + ", as a table"}>
      <table>
        <caption class="hidden">{label}</caption>
        <thead>
          <tr>
            <th scope="col">{granularity === "hour" ? "Hour" : "Day"}</th>
            <th scope="col" class="number">Requests</th>
            {columns.map((name) => <th scope="col" class="number" key={name}>{name}</th>)}
          </tr>
        </thead>
        <tbody>
          {buckets.map((b, row) => (
            <tr key={b.start}>
              <th scope="row">{spanText(b.start, granularity)}</th>
              <td class="number">{number(totals[row] ?? 0)}</td>
              {columns.map((name, i) => <td class="number" key={name}>{number(b.parts[i] ?? 0)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
