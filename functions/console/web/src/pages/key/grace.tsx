// While the secret before the present one still works: until when, and who still uses it.
import { useEffect, useState } from "preact/hooks";
import { get } from "../../api";
import { dateTime, plural, timeOfDay } from "../../format";
import { useQuery } from "../../query";
import type { Instant, KeyUsage } from "../../types";
import { Button, Failure, Section, Time } from "../../ui";
import { ChangeDialog, type KeyProps, OwnNote, isOwn, keyPath, patchKey, Promptly, signOutOf, tell } from "./change";

const refreshMs = 30_000;

export function Grace({ k, set, reload }: KeyProps) {
  const [retiring, retire] = useState(false);
  const until = k.previousSecretUntil;
  const usage = useQuery("grace " + k.keyId, async (signal) => {
    const from = new Date(Date.now() - 86_400_000).toISOString();
    return (await get<KeyUsage>(keyPath(k, "/usage"), { from, granularity: "hour" }, signal)).data;
  });
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && usage.reload(), refreshMs);
    return () => clearInterval(timer);
  }, [usage.reload]);
  if (!until) return null;
  return (
    <Section title="Old secret" actions={<Button onClick={() => retire(true)} aria-haspopup="dialog">Retire the old secret now</Button>}>
      <p>The secret before the last regenerate still works until <Time at={until} /> (<Countdown until={until} onEnd={reload} /> left).</p>
      {usage.data && <StillUsed usage={usage.data} />}
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
          {usage.data && <StillUsed usage={usage.data} />}
          <OwnNote k={k} />
        </ChangeDialog>
      )}
    </Section>
  );
}

/** Counted by clock hours, and some minutes late, which is said too. */
function StillUsed({ usage }: { usage: KeyUsage }) {
  const old = usage.secrets?.find((s) => s.until !== null);
  const used = (buckets: KeyUsage["buckets"]) =>
    buckets.reduce((sum, b) => sum + (b.generations?.find((g) => g.generation === old?.generation)?.requests ?? 0), 0);
  const first = usage.buckets[0], recent = usage.buckets.slice(-2), since = recent[0];
  if (!old || !first || !since) return null;
  const day = used(usage.buckets);
  if (day === 0) return <p><strong>No request has used it</strong> since {dateTime(first.start)}. Requests show up here within some minutes.</p>;
  return (
    <p>
      <strong>{plural(used(recent), "request")}</strong> used it since {timeOfDay(since.start)}, <strong>{plural(day, "request")}</strong> since {dateTime(first.start)};
      {old.lastUsed && <> the last one <Time at={old.lastUsed} relative />.</>} Requests show up here within some minutes.
    </p>
  );
}

function Countdown({ until, onEnd }: { until: Instant; onEnd: () => void }) {
  const left = () => Math.max(0, Math.ceil((Date.parse(until) - Date.now()) / 1000));
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
