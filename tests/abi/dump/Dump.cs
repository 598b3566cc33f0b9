// Writes down, as JSON, what a compiled C# binding declares towards C: imported functions,
// delegates, structs with the layout that the runtime gives them, constants, enums, and the
// methods that are handed out as callbacks. tests/abi/csharp_binding.py compares it.

using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;

internal static class Dump
{
    private const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic
        | BindingFlags.Static | BindingFlags.Instance | BindingFlags.DeclaredOnly;

    private static int Main(string[] arguments)
    {
        var types = Assembly.LoadFrom(arguments[0]).GetTypes()
            .OrderBy(type => type.FullName, StringComparer.Ordinal).ToArray();
        Console.WriteLine(Json(new SortedDictionary<string, object>
        {
            { "imports", types.SelectMany(Imports).ToArray() },
            { "delegates", types.Where(IsDelegate).Select(Delegate).ToArray() },
            { "structs", types.Where(IsLaidOut).Select(Struct).ToArray() },
            { "enums", types.Where(type => type.IsEnum).Select(Enum).ToArray() },
            { "constants", types.Where(type => !type.IsEnum).SelectMany(Constants).ToArray() },
            { "thunks", types.SelectMany(Thunks).ToArray() },
        }));
        return 0;
    }

    private static bool IsDelegate(Type type)
    {
        return typeof(MulticastDelegate).IsAssignableFrom(type) && !type.IsAbstract;
    }

    // Generic structs and the compiler's own cannot cross the boundary.
    private static bool IsLaidOut(Type type)
    {
        return type.IsValueType && !type.IsEnum && !type.IsGenericTypeDefinition
            && !type.Name.Contains("<") && !type.FullName.Contains("<")
            && type.StructLayoutAttribute != null;
    }

    private static IEnumerable<object> Imports(Type type)
    {
        foreach (var method in type.GetMethods(All))
        {
            var import = method.GetCustomAttribute<DllImportAttribute>();
            if (import == null) continue;
            yield return new SortedDictionary<string, object>
            {
                { "name", method.Name },
                { "entry", import.EntryPoint },
                { "library", import.Value },
                { "convention", import.CallingConvention.ToString() },
                { "preserve", import.PreserveSig },
                { "answer", Name(method.ReturnType) + Marshalled(method.ReturnParameter) },
                { "parameters", Parameters(method) },
            };
        }
    }

    private static object Delegate(Type type)
    {
        var convention = type.GetCustomAttribute<UnmanagedFunctionPointerAttribute>();
        var invoke = type.GetMethod("Invoke");
        return new SortedDictionary<string, object>
        {
            { "name", type.Name },
            { "convention", convention == null ? "" : convention.CallingConvention.ToString() },
            { "answer", Name(invoke.ReturnType) + Marshalled(invoke.ReturnParameter) },
            { "parameters", Parameters(invoke) },
        };
    }

    private static object Struct(Type type)
    {
        object size = null;
        var fields = new List<object>();
        try
        {
            size = Marshal.SizeOf(type);
            foreach (var field in type.GetFields(All).Where(field => !field.IsStatic))
            {
                fields.Add(new object[]
                {
                    field.Name, Name(field.FieldType) + Marshalled(field),
                    Marshal.OffsetOf(type, field.Name).ToInt64(),
                });
            }
        }
        catch (ArgumentException)
        {
            size = null; // holds objects: it cannot cross the boundary
        }
        return new SortedDictionary<string, object>
        {
            { "name", type.Name },
            { "sequential", type.StructLayoutAttribute.Value != LayoutKind.Auto },
            { "size", size },
            { "fields", size == null ? new object[0] : fields.ToArray() },
        };
    }

    private static object Enum(Type type)
    {
        var members = new SortedDictionary<string, object>();
        foreach (var field in type.GetFields(BindingFlags.Public | BindingFlags.Static))
            members[field.Name] = Convert.ToInt64(field.GetRawConstantValue());
        return new SortedDictionary<string, object>
        {
            { "name", type.Name },
            { "underlying", System.Enum.GetUnderlyingType(type).Name },
            { "members", members },
        };
    }

    private static IEnumerable<object> Constants(Type type)
    {
        foreach (var field in type.GetFields(All).Where(field => field.IsLiteral))
        {
            object value = field.GetRawConstantValue();
            if (!(value is int || value is uint || value is long || value is byte)) continue;
            yield return new object[] { type.Name + "." + field.Name, Convert.ToInt64(value) };
        }
    }

    // Methods that native code calls: they carry MonoPInvokeCallback, which IL2CPP needs.
    private static IEnumerable<object> Thunks(Type type)
    {
        foreach (var method in type.GetMethods(All))
        {
            var mark = method.GetCustomAttributesData()
                .FirstOrDefault(data => data.Constructor.DeclaringType.Name
                    .StartsWith("MonoPInvokeCallback", StringComparison.Ordinal));
            if (mark == null) continue;
            var served = mark.ConstructorArguments.Select(argument => argument.Value as Type)
                .FirstOrDefault(argument => argument != null);
            yield return new SortedDictionary<string, object>
            {
                { "name", type.Name + "." + method.Name },
                { "serves", served == null ? null : served.Name },
                { "static", method.IsStatic },
                { "answer", Name(method.ReturnType) + Marshalled(method.ReturnParameter) },
                { "parameters", Parameters(method) },
            };
        }
    }

    private static object Parameters(MethodInfo method)
    {
        return method.GetParameters().Select(parameter => (object)new object[]
        {
            parameter.Name, Direction(parameter) + Name(parameter.ParameterType) + Marshalled(parameter),
        }).ToArray();
    }

    private static string Direction(ParameterInfo parameter)
    {
        if (!parameter.ParameterType.IsByRef) return "";
        return parameter.IsOut ? "out " : parameter.IsIn ? "in " : "ref ";
    }

    private static string Name(Type type)
    {
        if (type.IsByRef) return Name(type.GetElementType());
        if (type.IsPointer) return Name(type.GetElementType()) + "*";
        if (type.IsArray) return Name(type.GetElementType()) + "[]";
        if (typeof(SafeHandle).IsAssignableFrom(type)) return "handle " + type.Name;
        if (IsDelegate(type)) return "delegate " + type.Name;
        if (type.IsEnum) return "enum " + System.Enum.GetUnderlyingType(type).Name;
        if (type.IsValueType && !type.IsPrimitive && type.Assembly != typeof(int).Assembly)
            return "struct " + type.Name;
        return type.Name;
    }

    // An explicit MarshalAs, whatever it says: none is needed for what may cross here.
    private static string Marshalled(ParameterInfo parameter)
    {
        return Marshalled(parameter == null ? null : parameter.GetCustomAttribute<MarshalAsAttribute>());
    }

    private static string Marshalled(FieldInfo field)
    {
        return Marshalled(field.GetCustomAttribute<MarshalAsAttribute>());
    }

    private static string Marshalled(MarshalAsAttribute mark)
    {
        return mark == null ? "" : " as " + mark.Value;
    }

    private static string Json(object value)
    {
        if (value == null) return "null";
        if (value is bool) return (bool)value ? "true" : "false";
        if (value is int || value is long) return Convert.ToInt64(value).ToString();
        var text = value as string;
        if (text != null) return Quoted(text);
        var items = value as object[];
        if (items != null) return "[" + string.Join(", ", items.Select(Json).ToArray()) + "]";
        var pairs = (SortedDictionary<string, object>)value;
        return "{" + string.Join(", ", pairs.Select(
            pair => Quoted(pair.Key) + ": " + Json(pair.Value)).ToArray()) + "}";
    }

    private static string Quoted(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (char letter in text)
        {
            if (letter == '"' || letter == '\\') quoted.Append('\\');
            quoted.Append(letter);
        }
        return quoted.Append('"').ToString();
    }
}
