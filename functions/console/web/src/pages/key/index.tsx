import { Page } from "../../ui";

export function KeyDetails({ id }: { id: string }) {
  return <Page title={id}><p /></Page>;
}
