// Who did what to the key, newest first, in sentences.
import { useCatalogue } from "../../store";
import type { AuditEvent, Key } from "../../types";
import { href } from "../../router";
import { announce, Button, Failure, Loading, Section, Time } from "../../ui";
import { usePages } from "./pages";
import { sentence } from "./sentence";

export function AuditSection({ k }: { k: Key }) {
  const catalogue = useCatalogue().data ?? [];
  const trail = usePages<AuditEvent>("/v1/audit-events", { keyId: k.keyId }, k.version);
  const older = async () => {
    await trail.older();
    announce("Older events loaded");
  };
  return (
    <Section title="Audit trail" actions={<Button busy={trail.loading && trail.rows.length > 0} onClick={trail.reload}>Refresh</Button>}>
      {trail.error && <Failure error={trail.error} what="load the audit trail" onRetry={trail.reload} />}
      {trail.rows.length === 0 && trail.loading && <Loading what="the audit trail" />}
      {trail.rows.length === 0 && !trail.loading && !trail.error && <p class="muted">Nothing is recorded of this key.</p>}
      <ol class="timeline">
        {trail.rows.map((e) => (
          <li key={e.eventId}>
            <Time at={e.at} />
            <span>
              <Actor e={e} /> {sentence(e, catalogue)}
              {e.sessionId && !e.action.startsWith("session.") && <span class="muted" title={"Session " + e.sessionId}> (in a console session)</span>}
            </span>
          </li>
        ))}
      </ol>
      {trail.next && <div class="pager"><Button busy={trail.loading} onClick={() => void older()}>Older</Button></div>}
    </Section>
  );
}

function Actor({ e }: { e: AuditEvent }) {
  if (!e.actorKeyId) return <strong>An administrator</strong>;
  const name = e.actorName ?? e.actorKeyId;
  if (e.actorKeyId === e.keyId) return <strong>{name}</strong>;
  return <a href={href("keys/" + e.actorKeyId)}><strong>{name}</strong></a>;
}
