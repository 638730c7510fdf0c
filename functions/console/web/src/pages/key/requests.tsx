// The key's request log, newest first.
import { useState } from "preact/hooks";
import { plural } from "../../format";
import { RequestTable } from "../../requests";
import type { Key, LogRow } from "../../types";
import { announce, Button, CheckboxField, Failure, Loading, Section, SelectField } from "../../ui";
import { keyPath } from "./change";
import { usePages } from "./pages";
import { useSheet } from "./sheet";

const statuses: [string, string][] = [["", "Any"], ["2xx", "2xx successful"], ["3xx", "3xx redirected"], ["4xx", "4xx client errors"], ["5xx", "5xx server errors"]];

export function RequestsSection({ k }: { k: Key }) {
  const [status, setStatus] = useState("");
  const [refused, setRefused] = useState(false);
  const path = keyPath(k, "/requests"), query = { status, refused: refused || undefined };
  const log = usePages<LogRow>(path, query, 0);
  const sheet = useSheet(path, { ...query, limit: 1000 }, `requests-${k.keyId}.csv`);
  const older = async () => {
    await log.older();
    announce("Older requests loaded");
  };
  const none = log.rows.length === 0;
  return (
    <Section title="Requests" actions={<>{sheet.button}<Button busy={log.loading && !none} onClick={log.reload}>Refresh</Button></>}>
      <div class="filters">
        <SelectField label="Status" value={status} onValue={setStatus} options={statuses} />
        <CheckboxField label="Refused only" checked={refused} onValue={setRefused} />
      </div>
      {sheet.failure}
      {log.error && <Failure error={log.error} what="load the requests" onRetry={log.reload} />}
      {none && log.loading && <Loading what="the requests" />}
      {none && !log.loading && !log.error && (
        <p class="muted">{status || refused ? "No request of the last 30 days is like that." : "No request in the last 30 days."} Requests show up here some minutes after they were made.</p>
      )}
      {!none && <RequestTable rows={log.rows} busy={log.loading} />}
      {(!none || log.next) && (
        <div class="pager">
          <span role="status">{plural(log.rows.length, "request")} shown{!log.next && "; there are no older ones"}</span>
          {log.next && <Button busy={log.loading} onClick={() => void older()}>Older</Button>}
        </div>
      )}
    </Section>
  );
}
