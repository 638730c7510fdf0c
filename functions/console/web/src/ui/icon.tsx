// Icons are decoration: a name for people stands beside each, or on the button around it.
const shapes = {
  key: <path d="M5 14a3.25 3.25 0 1 0 0-6.5A3.25 3.25 0 0 0 5 14ZM7.4 8.4 14 1.8M10.6 5.2l2 2M12.8 3l1.7 1.7" />,
  log: <path d="M3 4h10M3 8h10M3 12h6" />,
  bell: <path d="M4 11V7.5a4 4 0 0 1 8 0V11l1 1.5H3L4 11ZM6.5 14h3" />,
  chart: <path d="M3 13V8M7 13V3M11 13V6M2 14.5h12" />,
  plus: <path d="M8 3v10M3 8h10" />,
  copy: <path d="M6 5.5h7v8H6zM10 3H3v8" />,
  check: <path d="m3 8.5 3.5 3.5L13 4.5" />,
  close: <path d="m4 4 8 8M12 4l-8 8" />,
  eye: <path d="M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8ZM8 9.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3Z" />,
  search: <path d="M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.5 10.5 14 14" />,
  warning: <path d="M8 2 1.5 13.5h13L8 2ZM8 6.5v3.5M8 12h.01" />,
  left: <path d="m10 3-5 5 5 5" />,
  right: <path d="m6 3 5 5-5 5" />,
  star: <path d="m8 2 1.8 3.9 4.2.5-3.1 2.9.8 4.2L8 11.4l-3.7 2.1.8-4.2L2 6.4l4.2-.5L8 2Z" />,
  out: <path d="M6 3H3v10h3M7 8h7M11 5l3 3-3 3" />,
  download: <path d="M8 2.5V10M5 7.5l3 3 3-3M2.5 13.5h11" />,
};

export type IconName = keyof typeof shapes;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={`${size / 16}rem`} height={`${size / 16}rem`} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">
      {shapes[name]}
    </svg>
  );
}
