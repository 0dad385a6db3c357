/** What several screens show. */
import {
  Alert,
  AlertDescription,
  Card,
  CardContent,
  CardDescription,
  CardHeader,
  CardTitle,
  Table,
  TableBody,
  TableCell,
  TableHead,
  TableHeader,
  TableRow
} from "@databricks/appkit-ui/react"
import type { ReactNode } from "react"

export const Panel = (props: { id: string; title: string; about?: ReactNode; children: ReactNode }) => (
  <Card id={props.id}>
    <CardHeader>
      <CardTitle>{props.title}</CardTitle>
      <CardDescription>{props.about}</CardDescription>
    </CardHeader>
    <CardContent className="flex flex-col gap-4">{props.children}</CardContent>
  </Card>
)

export const Failure = ({ message }: { message: string | null }) =>
  message !== null && (
    <Alert variant="destructive">
      <AlertDescription>{message}</AlertDescription>
    </Alert>
  )

export const Rows = (props: {
  head: ReadonlyArray<string>
  rows: ReadonlyArray<ReadonlyArray<string | number | null | undefined>>
}) => (
  <Table>
    <TableHeader>
      <TableRow>
        {props.head.map((name) => (
          <TableHead key={name}>{name}</TableHead>
        ))}
      </TableRow>
    </TableHeader>
    <TableBody>
      {props.rows.map((row, index) => (
        <TableRow key={index}>
          {row.map((value, column) => (
            <TableCell key={column}>{value}</TableCell>
          ))}
        </TableRow>
      ))}
    </TableBody>
  </Table>
)
