// Where one is: #screen or #screen/crack.
export const SCREENS = ["live", "cracks", "place", "flight", "health"];

export function parse() {
  const [screen, id] = location.hash.slice(1).split("/");
  let crack = null;
  try {
    crack = id ? decodeURIComponent(id) : null;
  } catch {
    // not written by us
  }
  return { screen: SCREENS.includes(screen) ? screen : "cracks", id: crack };
}

export function go(screen, id) {
  location.hash = id ? `${screen}/${encodeURIComponent(id)}` : screen;
}
