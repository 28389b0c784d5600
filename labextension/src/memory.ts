/** What this browser remembers through a reload; where it may not, this page does. */

const PREFIX = 'jupyter-resume:';
const page = new Map<string, string>();

export const memory = {
  get(key: string): string | null {
    try {
      return localStorage.getItem(PREFIX + key);
    } catch {
      return page.get(key) ?? null;
    }
  },

  set(key: string, value: string): void {
    try {
      localStorage.setItem(PREFIX + key, value);
    } catch {
      page.set(key, value);
    }
  }
};
