import react from "@vitejs/plugin-react"
import { defineConfig } from "vite"

export default defineConfig({
  plugins: [react()],
  build: { outDir: "../public", emptyOutDir: true },
  // `npx vite web` has hot reload, beside `npm run dev`: it passes calls, and the choice of a user, on to the app.
  server: { proxy: { "/api": "http://localhost:8000", "/.apps": "http://localhost:8000" } }
})
