// While the secret before the present one still works: until when, and who still uses it.
import { useEffect, useState } from "preact/hooks";
import { get } from "../../api";
import { now } from "../../clock";
import { dateTime, plural, timeOfDay } from "../../format";
import { useQuery } from "../../query";
import { useMayManage } from "../../store";
import type { Instant, Key, KeyUsage } from "../../types";
import { Button, Failure, Section, Time } from "../../ui";
import { ChangeDialog, type KeyProps, OwnNote, isOwn, keyPath, patchKey, Promptly, signOutOf, tell } from "./change";

const refreshMs = 30_000;

export function Grace({ k, set, reload }: KeyProps) {
  const [retiring, retire] = useState(false);
  const may = useMayManage();
  const until = k.previousSecretUntil;
  const usage = useQuery("grace " + k.keyId, async (signal) => {
    const from = new Date(Math.max(now() - 86_400_000, Date.parse(k.rotatedAt ?? k.createdAt))).toISOString();
    return (await get<KeyUsage>(keyPath(k, "/usage"), { from, granularity: "hour" }, signal)).data;
  });
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && usage.reload(), refreshMs);
    return () => clearInterval(timer);
  }, [usage.reload]);
  if (!until) return null;
  return (
    <Section title="Old secret" actions={may && <Button onClick={() => retire(true)} aria-haspopup="dialog">Retire the old secret now</Button>}>
      <p>The secret before the last regenerate still works until <Time at={until} /> (<Countdown until={until} onEnd={reload} /> left).</p>
      {usage.data && <StillUsed k={k} usage={usage.data} />}
      {!usage.data && !usage.error && <p class="muted">Counting who still uses it…</p>}
      {usage.error && !usage.data && <Failure error={usage.error} what="count who still uses it" onRetry={usage.reload} />}
      {retiring && (
        <ChangeDialog k={k} set={set} reload={reload} title={`Retire the old secret of ${k.name}`} action="Retire it" danger onClose={() => retire(false)}
          act={async (force) => {
            const { data, meta } = await patchKey(k, { endGrace: true }, force);
            set(data);
            tell(`The old secret of “${k.name}” is retired`, meta?.effective);
            if (isOwn(k)) signOutOf(k, "retired the old secret of");
          }}>
          <p>Everything that still uses the old secret is refused with 401: <Promptly />. The present secret goes on working.</p>
          {usage.data && <StillUsed k={k} usage={usage.data} />}
          <OwnNote k={k} />
        </ChangeDialog>
      )}
    </Section>
  );
}

/** Counted by clock hours, so the first one may hold what was before the regenerate. */
function StillUsed({ k, usage }: { k: Key; usage: KeyUsage }) {
  const old = usage.secrets?.find((s) => s.until !== null);
  const used = (buckets: KeyUsage["buckets"]) =>
    buckets.reduce((sum, b) => sum + (b.generations?.find((g) => g.generation === old?.generation)?.requests ?? 0), 0);
  const first = usage.buckets[0], hour = usage.buckets.slice(-2);
  if (!old || !first || !k.rotatedAt) return null;
  const late = "Requests show up here some minutes after they were made.";
  if (!old.lastUsed || old.lastUsed < k.rotatedAt) return <p><strong>Nothing has used it</strong> since the regenerate. {late}</p>;
  return (
    <p>
      <strong>It is still used</strong>, last <Time at={old.lastUsed} relative />: by <strong>{plural(used(usage.buckets), "request")}</strong> since {dateTime(first.start)}
      {first.start < k.rotatedAt && ", those before the regenerate included"}
      {hour[0] && hour[0] !== first && <>, <strong>{plural(used(hour), "request")}</strong> of them since {timeOfDay(hour[0].start)}</>}. {late}
    </p>
  );
}

function Countdown({ until, onEnd }: { until: Instant; onEnd: () => void }) {
  const left = () => Math.max(0, Math.ceil((Date.parse(until) - now()) / 1000));
  const [seconds, set] = useState(left);
  useEffect(() => {
    const timer = setInterval(() => set(left()), 1000);
    return () => clearInterval(timer);
  }, [until]);
  useEffect(() => {
    if (seconds > 0) return;
    const timer = setTimeout(onEnd, 2000); // the API's clock may be a little behind
    return () => clearTimeout(timer);
  }, [seconds === 0]);
  const two = (n: number) => String(n).padStart(2, "0");
  const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
  return <span class="countdown" role="timer">{hours > 0 && `${hours} h `}{two(minutes)} min {two(seconds % 60)} s</span>;
}
