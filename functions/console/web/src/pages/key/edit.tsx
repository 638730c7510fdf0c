// Editing a key: the form, then what its changes come to, then saving them for the version
// that they were made to. If somebody else was faster, their changes are shown beside one's
// own, and one's own are made to the key as it is now.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get } from "../../api";
import { CustomersField } from "../../customers";
import { PermissionPicker } from "../../permissions";
import { useAction, useQuery } from "../../query";
import { useLeaveGuard } from "../../router";
import { useAccount, useCatalogue } from "../../store";
import type { Key, Permission, Self } from "../../types";
import { Button, Dialog, ErrorSummary, Failure, Loading, Note, SelectField, TextAreaField, TextField } from "../../ui";
import { type KeyProps, LastManager, explain, isOwn, keyPath, patchKey, signOutOf, tell } from "./change";
import { type Change, Changes, changeText, changesOf, patched } from "./changes";
import { type Draft, type Faults, draftOf, edited, faultsOf, patchOf, rebase } from "./draft";

type Step = "form" | "review" | "theirs";

const labels: Record<keyof Draft, string> = {
  name: "Name", owner: "Owner", permissions: "Permissions", customers: "Customers", networks: "Networks", plan: "Plan", rateLimit: "Rate limit",
  hour: "Hourly limit", day: "Daily limit", quota: "Monthly quota", refillDay: "Refill day", notBefore: "Works from", expirationTs: "Expires",
};

const unsaved = "Your changes are not saved. Leave without them?";

export function Edit({ k: shown, set, onClose }: KeyProps & { onClose: () => void }) {
  const [title] = useState("Edit " + shown.name);
  const [base, setBase] = useState(shown); // what the edits were made to
  const [draft, setDraft] = useState(() => draftOf(shown));
  const [step, setStep] = useState<Step>("form");
  const [faults, setFaults] = useState<Faults>({});
  const [theirs, setTheirs] = useState<Key>();
  const [lastManager, setLastManager] = useState(false);
  const [forced, force] = useState(false);
  const catalogue = useCatalogue();
  const names = catalogue.data ?? [];

  const dirty = edited(draftOf(base), draft).length > 0;
  useLeaveGuard(dirty ? unsaved : "");
  const close = () => (!dirty || confirm(unsaved)) && onClose();

  const { patch } = patchOf(base, draft);
  const changes = changesOf(base, patched(base, patch), names);

  const save = useAction(async () => {
    try {
      const { data, meta } = await patchKey(base, patch, forced);
      set(data);
      tell(`Saved “${data.name}”`, meta?.effective);
      onClose();
      if (isOwn(data) && changes.some((c) => c.verdict)) signOutOf(data, "changed");
    } catch (cause) {
      if (!(cause instanceof ApiError)) throw cause;
      if (cause.status === 412) {
        setTheirs((await get<Key>(keyPath(base))).data);
        setStep("theirs");
        return;
      }
      const error = explain(cause);
      if (error.code === "last_manager") setLastManager(true);
      else setStep("form");
      setFaults(faultsOf(error, patch, draft));
      throw error;
    }
  });

  const review = () => {
    const { faults } = patchOf(base, draft);
    setFaults(faults);
    save.clear();
    if (Object.keys(faults).length === 0) setStep("review");
  };
  const adopt = (now: Key) => {
    setDraft(rebase(draft, base, now));
    setBase(now);
    set(now);
    setTheirs(undefined);
    setStep("form");
  };
  // Which fields are meant is told, since the first of them may be out of sight.
  const meant = Object.keys(faults).filter((f) => f).map((f) => labels[f as keyof Draft]);
  const said = [
    save.error && (save.error.code !== "validation_failed" || meant.length === 0) && save.error.message,
    faults[""], meant.length > 0 && `Look again at: ${meant.join(", ")}.`,
  ].filter(Boolean).join(" ");

  return (
    <Dialog title={title} wide onClose={close} dismissible={!save.busy}>
      {step === "form" && (
        <Step onSubmit={review}>
          {said && <ErrorSummary text={said} />}
          {catalogue.error && <Failure error={catalogue.error} what="load the permissions" onRetry={catalogue.reload} />}
          {!catalogue.data && !catalogue.error ? <Loading what="the permissions" /> : (
            <Fields k={base} draft={draft} faults={faults} catalogue={names} onDraft={(d) => setDraft({ ...draft, ...d })} />
          )}
          <div class="actions">
            <Button onClick={close}>Cancel</Button>
            <Button type="submit" variant="primary" disabled={!dirty}>Review changes</Button>
          </div>
        </Step>
      )}
      {step === "review" && (
        <Step title="What changes" onSubmit={save.run}>
          {changes.length === 0 ? <p>Nothing: the key is like that already.</p> : <Changes k={base} changes={changes} />}
          {save.error && <ErrorSummary text={save.error.message} />}
          {lastManager && <LastManager forced={forced} force={force} />}
          <div class="actions">
            <Button disabled={save.busy} onClick={() => setStep("form")}>Back</Button>
            <Button type="submit" variant="primary" busy={save.busy} disabled={changes.length === 0 || (lastManager && !forced)}>Save changes</Button>
          </div>
        </Step>
      )}
      {step === "theirs" && theirs && <Theirs was={base} theirs={theirs} mine={changes} adopt={adopt} />}
    </Dialog>
  );
}

/** One step of a dialog: its heading gets the focus, or its first field what the step before lost. */
function Step({ title, onSubmit, children }: { title?: string; onSubmit: () => void; children: ComponentChildren }) {
  const ref = useRef<HTMLFormElement>(null);
  useEffect(() => {
    if (title || document.activeElement === document.body) ref.current?.querySelector<HTMLElement>("h3, input")?.focus();
  }, []);
  return (
    <form ref={ref} onSubmit={(e) => {
      e.preventDefault();
      onSubmit();
    }}>
      {title && <h3 tabIndex={-1}>{title}</h3>}
      {children}
    </form>
  );
}

/** What somebody else has changed meanwhile, beside what was to be saved. */
function Theirs({ was, theirs, mine, adopt }: { was: Key; theirs: Key; mine: Change[]; adopt: (now: Key) => void }) {
  const [reviewing, setReviewing] = useState(false);
  const names = useCatalogue().data ?? [];
  const changed = changesOf(was, theirs, names);
  if (theirs.isActive !== was.isActive || theirs.isPrimary !== was.isPrimary || theirs.rotatedAt !== was.rotatedAt) {
    changed.push(...[
      theirs.isActive !== was.isActive && (theirs.isActive ? "switched on" : "switched off"),
      theirs.isPrimary !== was.isPrimary && (theirs.isPrimary ? "made primary" : "no longer primary"),
      theirs.rotatedAt !== was.rotatedAt && "given a new secret",
    ].filter((s) => s !== false).map((now): Change => ({ field: "name", name: "The key", was: "as it was", now, words: "", narrows: false, verdict: false })));
  }
  const both = mine.filter((m) => changed.some((c) => c.field === m.field && c.name === m.name));
  if (!reviewing) {
    return (
      <>
        <ErrorSummary text="Somebody else has changed this key since you opened it. Nothing was saved, and nothing that you typed is lost." />
        <div class="actions"><Button variant="primary" onClick={() => setReviewing(true)}>Review their changes</Button></div>
      </>
    );
  }
  return (
    <Step title="Their changes and yours" onSubmit={() => adopt(theirs)}>
      <div class="two">
        <div>
          <h4>They changed</h4>
          {changed.length === 0 ? <p>Nothing that can be seen here.</p>
            : <dl class="changes">{changed.map((c) => <div key={c.name + c.now}><dt>{c.name}</dt><dd>{changeText(c)}</dd></div>)}</dl>}
        </div>
        <div>
          <h4>You typed</h4>
          <dl class="changes">{mine.map((c) => <div key={c.field}><dt>{c.name}</dt><dd>{changeText(c)}</dd></div>)}</dl>
        </div>
      </div>
      {both.length > 0 && (
        <Note tone="warning">Both of you changed: {both.map((c) => c.name.toLowerCase()).join(", ")}. The form keeps what you typed; if you save it, it replaces theirs.</Note>
      )}
      <div class="actions"><Button type="submit" variant="primary">Go on with the key as it is now</Button></div>
    </Step>
  );
}

interface FieldsProps {
  k: Key;
  draft: Draft;
  faults: Faults;
  catalogue: Permission[];
  onDraft: (d: Partial<Draft>) => void;
}

function Fields({ k, draft, faults, catalogue, onDraft }: FieldsProps) {
  const self = useQuery("self", async (signal) => (await get<Self>("/v1/api-keys/self", {}, signal)).data).data;
  const plans = useAccount().data?.plans ?? [];
  const bind = (field: Exclude<keyof Draft, "permissions" | "customers">) => ({ label: labels[field], value: draft[field], error: faults[field], onValue: (v: string) => onDraft({ [field]: v }) });
  const offered = plans.map((p) => p.name).concat(plans.some((p) => p.name === k.plan) ? [] : k.plan);
  return (
    <>
      <div class="two">
        <TextField {...bind("name")} required />
        <TextField {...bind("owner")} optional hint="Who is responsible for the key" />
      </div>
      {!k.canary && (
        <>
          <PermissionPicker catalogue={catalogue} value={draft.permissions} mine={self?.permissions} error={faults["permissions"]} onValue={(permissions) => onDraft({ permissions })} />
          <div class="two">
            <CustomersField value={draft.customers} onValue={(customers) => onDraft({ customers })} error={faults["customers"]} hint="IDs of the only customers that the key may act for. None: every customer." />
            <TextAreaField {...bind("networks")} optional hint="Such as 203.0.113.0/24 or one address, one to a line. Empty: anywhere." />
          </div>
          <div class="two">
            <SelectField {...bind("plan")} options={offered.map((p) => [p, p])} />
            <TextField {...bind("rateLimit")} inputMode="numeric" hint="Requests in any 60 seconds" />
            <TextField {...bind("hour")} inputMode="numeric" optional hint="Requests in any hour. Empty: no such limit." />
            <TextField {...bind("day")} inputMode="numeric" optional hint="Requests in any 24 hours. Empty: no such limit." />
            <TextField {...bind("quota")} inputMode="numeric" optional hint="Requests in a month. Empty: no quota." />
            <TextField {...bind("refillDay")} inputMode="numeric" hint="On which a month begins, 1 to 28, 00:00 UTC" />
            <TextField {...bind("notBefore")} type="datetime-local" optional hint="In your time zone. Empty: at once." />
          </div>
        </>
      )}
      <div class="two">
        <TextField {...bind("expirationTs")} type="datetime-local" optional hint="In your time zone, 365 days ahead at most. Empty: never." />
      </div>
    </>
  );
}
